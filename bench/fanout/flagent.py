"""flagent-cdc on an embedded PostgreSQL; its events are commits."""

import importlib.resources
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import psycopg

from bench.fanout import payload
from bench.fanout.load import Endpoint
from bench.fanout.payload import Mode
from bench.fanout.process import Process
from bench.fanout.target import Target, Unavailable, wait_for_port
from bench.port import free_port

__all__ = ["FlagentCdc"]

_PADDING = payload.FLAG_BYTES - len(payload.compact(payload.flag(0, 0)))
_NOTES = f"'seq=' || lpad(%s::text, 8, '0') || ' {payload.notes(0, _PADDING)[13:]}'"

_INSERT = """
insert into flags (key, description, updated_by, enabled, notes, created_at, updated_at)
select %s, 'fan-out', 'bench', true, %s, localtimestamp, localtimestamp
"""
_INSERT_OTHERS = """
insert into flags (key, description, updated_by, enabled, notes, created_at, updated_at)
select 'bench-' || number, 'fan-out', 'bench', true, 'quiet', localtimestamp, localtimestamp
  from generate_series(0, %s - 1) as number
"""
_UPDATE = f"update flags set notes = {_NOTES}, updated_at = localtimestamp where key = %s"
# One commit per event, as fast as PostgreSQL allows: no client round trip in between.
_UPDATE_MANY = f"""
do $$
begin
    for seq in {{first}} .. {{last}} loop
        update flags set notes = {_NOTES.replace("%s", "seq")}, updated_at = localtimestamp
         where key = '{payload.KEY}';
        commit;
    end loop;
end $$
"""


class FlagentCdc(Target):
    """`flagent-cdc serve` on the server's core; PostgreSQL and its client share the other cores with the load.

    Besides the flag that changes there are `others` flags, `bench-0` …, for snapshots and for subscribers of one flag
    each. Keep-alives are off, as for every server here, because they are not deliveries.
    """

    name = "flagent-cdc"

    def __init__(
        self, mode: Mode, core: int, *, others: int = 0, workers: int = 1, settings: Mapping[str, str] | None = None
    ) -> None:
        self.mode, self._core, self._others, self._workers = mode, core, others, workers
        self._settings = settings or {}
        self._started = ExitStack()

    def start(self) -> None:
        try:
            from cdc.admin.installation import migrate
            from cdc.embedded.server import EmbeddedPostgres
        except ImportError as error:
            raise Unavailable(f"flagent-cdc cannot be imported: {error}") from error
        # Below /var/tmp and not in the home folder: under root, PostgreSQL runs as another user.
        folder = Path(self._started.enter_context(tempfile.TemporaryDirectory(prefix="flagent-cdc-", dir="/var/tmp")))
        folder.chmod(0o755)
        postgres = self._started.enter_context(EmbeddedPostgres(folder / "data"))
        self.database = self._started.enter_context(psycopg.connect(postgres.url, autocommit=True))
        self.database.execute((importlib.resources.files("sql") / "flagent.sql").read_text())
        migrate(postgres.url, ("public",))
        self.database.execute(_INSERT, (payload.KEY, payload.notes(0, _PADDING)))
        self.database.execute(_INSERT_OTHERS, (self._others,))
        self._port = free_port()
        self.process = Process(
            [sys.executable, "-m", "cdc", "serve", "--port", str(self._port)],
            self._core,
            environment={
                "PYTHONPATH": str(Path(__file__).parents[2]),
                "FLAGENT_CDC_DATABASE_URL": postgres.url,
                "FLAGENT_CDC_WORKERS": str(self._workers),
                "FLAGENT_CDC_LOG_LEVEL": "warning",
                "FLAGENT_CDC_REPLAY_LIMIT": "1000000",
                "FLAGENT_SSE_MAX_CLIENTS": "100000",
                "FLAGENT_SSE_KEEP_ALIVE": "1h",
                "FLAGENT_WS_MAX_CONNECTIONS": "100000",
                "FLAGENT_WS_PING_INTERVAL": "1h",
                **self._settings,
            },
        )
        wait_for_port(self._port, self.process)
        self._wait_until_ready()
        self._first_id = self.last_id()

    def _wait_until_ready(self, timeout_s: float = 60) -> None:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/readyz", timeout=5):
                    return
            except urllib.error.HTTPError:
                time.sleep(0.05)
        raise Unavailable(f"not ready within {timeout_s:g} s: {self.process.stderr_tail()}")

    @property
    def endpoint(self) -> Endpoint:
        return self.subscription()

    def subscription(
        self, *, flag: str | None = None, snapshot: bool = False, last_event_id: str | None = None
    ) -> Endpoint:
        """A subscription to everything or to one flag; `%d` in `flag` becomes the subscriber's number."""
        if self.mode == "sse":
            query = [f"flag={flag}"] if flag else []
            query += ["snapshot=true"] if snapshot else []
            query += [f"lastEventId={last_event_id}"] if last_event_id else []
            path = "/api/v1/events/stream" + ("?" + "&".join(query) if query else "")
            return Endpoint("sse", self._port, path, ready="event: snapshot" if snapshot else "event: connected")
        hello: dict[str, object] = {"type": "subscribe", **({"flags": [flag]} if flag else {"subscribeAll": True})}
        if snapshot:
            hello["snapshot"] = True
        if last_event_id:
            hello["lastEventId"] = last_event_id
        ready = '"snapshot"' if snapshot else '"subscribed"'
        return Endpoint("ws", self._port, "/ws", hello=payload.compact(hello), ready=ready)

    @property
    def history(self) -> Endpoint:
        return self.subscription(last_event_id=self._first_id)

    def last_id(self) -> str:
        """The id of the newest commit, to resume from."""
        row = self.database.execute(
            "select coalesce(max(position), 0)::text || '@' || flagent_cdc.log_identity() from flagent_cdc.commit_log"
        ).fetchone()
        assert row is not None
        return str(row[0])

    def push(self, seq: int) -> int:
        return self.push_to(payload.KEY, seq)

    def push_to(self, key: str, seq: int) -> int:
        """Change one flag; returns the time at which its COMMIT was sent."""
        self.database.execute("begin")
        self.database.execute(_UPDATE, (seq, key))
        at = time.monotonic_ns()
        self.database.execute("commit")
        return at

    def push_many(self, first: int, count: int) -> Sequence[int]:
        """The times are those that the database recorded at each commit."""
        before = self.last_id().split("@")[0]
        self.database.execute(_UPDATE_MANY.format(first=first, last=first + count - 1).encode())
        rows = self.database.execute(
            "select (extract(epoch from committed_at) * 1000000)::bigint from flagent_cdc.commit_log"
            " where position > %s order by position",
            (before,),
        ).fetchall()
        to_monotonic = time.monotonic_ns() - time.time_ns()
        return [int(row[0]) * 1000 + to_monotonic for row in rows]

    def fill(self, first: int, count: int) -> None:
        # Nothing is measured, so the commits need not wait for the disk.
        self.database.execute("set synchronous_commit = off")
        self.push_many(first, count)
        self.database.execute("reset synchronous_commit")

    def stop(self) -> None:
        super().stop()
        self._started.close()
