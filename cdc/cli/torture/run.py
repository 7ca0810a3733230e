"""One run from start to verdict: a schema, two servers, writers, subscribers and faults."""

import asyncio
import contextlib
import json
import random
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.sql import SQL, Identifier

from cdc.admin.installation import migrate, uninstall
from cdc.cli.own_database import create_flagent_tables
from cdc.cli.torture.faults import Faults, Server
from cdc.cli.torture.poison import PoisonTable, RowSubscriber
from cdc.cli.torture.proxy import Proxy
from cdc.cli.torture.subscriber import Subscriber, Unexpected
from cdc.cli.torture.verdict import Outcome, check_run, divergences_of_texts, longest_delay_s
from cdc.cli.torture.watched_rows import WatchedRows
from cdc.cli.torture.writer import Marks, Writer
from cdc.database.database_url import redact
from cdc.database.driver_errors import driver_errors
from cdc.database.queries import log_query, query
from cdc.embedded.server import EmbeddedPostgres
from cdc.errors import InvalidInput

__all__ = ["Plan", "Report", "Torture", "own_schema"]

# After the last write, a subscriber that has not received it within this time has lost it.
_CATCH_UP_S = 60.0

_REPORT_S = 10.0


@dataclass(frozen=True, slots=True)
class Plan:
    """`fault_every_s` is the mean time between two faults; `writers_url` leads writers another way to the database."""

    seed: str
    duration_s: float
    fault_every_s: float = 3.0
    writers: int = 4
    subscribers: int = 6
    writers_url: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What happened, and what violated the promises."""

    commits: int
    unknown: int
    aborted: int
    events: int
    connections: int
    resyncs: int
    rows: int
    unreadable: int
    longest_delay_s: float
    faults: dict[str, int]
    violations: list[str]

    def lines(self) -> Iterator[str]:
        total = sum(self.faults.values())
        yield f"{total} faults: " + ", ".join(f"{count} {name}" for name, count in sorted(self.faults.items()))
        yield (
            f"{self.commits} transactions committed, {self.aborted} rolled back or failed, "
            f"{self.unknown} interrupted in their COMMIT"
        )
        yield (
            f"{self.events} events delivered over {self.connections} connections, {self.resyncs} resyncs; the slowest "
            f"{self.longest_delay_s:.1f} s after its commit"
        )
        yield f"{self.rows} events of rows that are hard to read, {self.unreadable} without their values"
        count = {
            kind: sum(text.startswith(kind) for text in self.violations) for kind in ("lost", "repeated", "invented")
        }
        yield ", ".join(f"{kind} {number}" for kind, number in count.items())


@contextlib.contextmanager
def own_schema(url: str) -> Iterator[str]:
    """A new schema with Flagent's tables, attached; removed at the end, with flagent-cdc if it was not installed."""
    schema = f"flagent_cdc_torture_{secrets.token_hex(4)}"
    with driver_errors(redact(url)), psycopg.connect(url, autocommit=True) as admin:
        installed = admin.execute(query("has_schema")).fetchone()
    was_installed = installed is not None and bool(installed[0])
    create_flagent_tables(url, schema)
    try:
        migrate(url, [schema])
        tables = WatchedRows(url, schema), PoisonTable(url, schema)
        for each in tables:
            each.create()
        yield schema
        for each in tables:
            each.remove()
    finally:
        with driver_errors(redact(url)), psycopg.connect(url, autocommit=True) as admin:
            admin.execute("set client_min_messages = warning")
            admin.execute(query("detach"), {"schema": schema})
            admin.execute(SQL(query("torture_drop")).format(schema=Identifier(schema)))
        if not was_installed:
            uninstall(url, report=lambda _: None)


def _through(parameters: Mapping[str, Any], port: int) -> dict[str, Any]:
    """The same connection through a local port; a certificate is still checked against the host's name."""
    changed = {**parameters, "hostaddr": "127.0.0.1", "port": port}
    if str(parameters.get("host") or "/").startswith("/"):
        changed["host"] = "127.0.0.1"
    return changed


class Torture:
    """The set-up of one run. `postgres` is the embedded server, if faults may stop it too."""

    def __init__(
        self,
        url: str,
        schema: str,
        plan: Plan,
        directory: Path,
        report: Callable[[str], None],
        postgres: EmbeddedPostgres | None = None,
    ) -> None:
        self._url = url
        self._schema = schema
        self._plan = plan
        self._directory = directory
        self._report = report
        self._postgres = postgres
        self._marks = Marks()
        self._violations: list[str] = []

    async def run(self) -> Report:
        """Run to the end; raises `InvalidInput` if a server does not become ready."""
        parameters = conninfo_to_dict(self._url)
        host = str(parameters.get("hostaddr") or parameters.get("host") or "127.0.0.1")
        database_link = Proxy(host, int(str(parameters.get("port") or 5432)))
        await database_link.start()
        # One server connects to the database directly, the other through a link that fails.
        linked_url = make_conninfo("", **_through(parameters, database_link.port))
        servers = [
            Server(url, self._directory / f"server-{number}.log") for number, url in enumerate((self._url, linked_url))
        ]
        client_links = [Proxy("127.0.0.1", server.port) for server in servers]
        try:
            for server in servers:
                server.start()
            for server, link in zip(servers, client_links, strict=True):
                await link.start()
                await self._ready(server)
            return await self._write_and_break(servers, database_link, client_links)
        finally:
            for server in servers:
                server.kill()
            for proxy in (database_link, *client_links):
                if proxy.is_open:
                    await proxy.close()

    async def _ready(self, server: Server) -> None:
        try:
            await server.ready()
        except TimeoutError:
            raise InvalidInput(
                f"a server did not become ready; see its log {server.log}", name="--database-url"
            ) from None

    async def _write_and_break(self, servers: list[Server], database_link: Proxy, client_links: list[Proxy]) -> Report:
        plan = self._plan
        ports = [link.port for link in client_links]
        subscribers = [
            Subscriber(ports, "SSE" if number % 2 else "WebSocket", self._schema, f"{plan.seed}/{number}")
            for number in range(plan.subscribers)
        ]
        followers = [RowSubscriber(tuple(ports), self._schema, f"{plan.seed}/rows {number}") for number in range(2)]
        writers = [
            Writer(plan.writers_url or self._url, self._schema, f"{plan.seed}/{number}", self._marks)
            for number in range(plan.writers)
        ]
        faults = Faults(
            random.Random(plan.seed),  # noqa: S311 - repeatable, not secret
            self._url, servers, database_link, client_links, writers, self._postgres,
        )  # fmt: skip
        everybody: list[Subscriber | RowSubscriber] = [*subscribers, *followers]
        running = [asyncio.create_task(each.run()) for each in everybody]
        try:
            await self._until(lambda: all(each.last_id for each in everybody), running, _CATCH_UP_S, "a snapshot")
            for writer in writers:
                writer.start()
            await self._inject(faults, subscribers, running)
            for writer in writers:
                writer.stop()
            for writer in writers:
                await asyncio.to_thread(writer.join, 60)
            self._violations += [writer.failure for writer in writers if writer.failure]
            newest, tables, texts = await asyncio.to_thread(self._state)
            await self._until(
                lambda: all(each.last_id is not None and each.last_id.position >= newest for each in everybody),
                running, _CATCH_UP_S, f"position {newest}",
            )  # fmt: skip
        finally:
            for task in running:
                task.cancel()
            ends = await asyncio.gather(*running, return_exceptions=True)
        self._violations += [str(end) for end in ends if isinstance(end, Unexpected)]
        for end in ends:
            if isinstance(end, Exception) and not isinstance(end, Unexpected):
                raise end
        for server in servers:
            if "Traceback" in server.log.read_text(errors="replace"):
                self._violations.append(f"a server logged a traceback: {server.log}")
        self._violations += map(str, divergences_of_texts([each.delivery for each in subscribers], texts))
        self._violations += await asyncio.to_thread(self._rows)
        held = await asyncio.to_thread(PoisonTable(self._url, self._schema).marks)
        self._violations += [str(violation) for each in followers for violation in each.violations(held)]
        return self._result(subscribers, followers, faults, tables)

    async def _inject(self, faults: Faults, subscribers: list[Subscriber], running: list[asyncio.Task[None]]) -> None:
        """Inject faults until the time is over, or a subscriber received what it never should."""
        breaking = asyncio.create_task(faults.run(self._plan.fault_every_s))
        ends_at = time.monotonic() + self._plan.duration_s
        try:
            while (left_s := ends_at - time.monotonic()) > 0:
                done, _ = await asyncio.wait(
                    (breaking, *running), timeout=min(left_s, _REPORT_S), return_when=asyncio.FIRST_COMPLETED
                )
                events = sum(subscriber.events for subscriber in subscribers)
                self._report(
                    f"{self._plan.duration_s - max(0.0, ends_at - time.monotonic()):.0f} s: "
                    f"{self._marks.committed()} commits, {events} events, {faults.done.total()} faults"
                )
                if done:
                    break
        finally:
            # A fault that has begun is completed, which includes its repair.
            try:
                await faults.finish(breaking)
            except TimeoutError:
                self._violations.append("a server did not become ready again after it was restarted")

    async def _until(
        self, condition: Callable[[], bool], running: list[asyncio.Task[None]], deadline_s: float, what: str
    ) -> None:
        deadline = time.monotonic() + deadline_s
        while not condition() and not any(task.done() for task in running):
            if time.monotonic() > deadline:
                self._violations.append(f"a subscriber did not receive {what} within {deadline_s:.0f} s")
                return
            await asyncio.sleep(0.05)

    def _rows(self) -> list[str]:
        return [str(violation) for violation in WatchedRows(self._url, self._schema).violations()]

    def _state(self) -> tuple[int, dict[str, int], dict[str, str]]:
        with driver_errors(redact(self._url)), psycopg.connect(self._url, autocommit=True) as connection:
            newest = connection.execute(log_query("newest_position", "flags")).fetchone()
            statement = SQL(query("torture_marks")).format(flags=Identifier(self._schema, "flags"))
            marks = {key: int(mark) for key, mark in connection.execute(statement).fetchall()}
            statement = SQL(query("torture_flag_texts")).format(flags=Identifier(self._schema, "flags"))
            texts = {key: json.dumps(found) for key, found in connection.execute(statement).fetchall()}
        return (0 if newest is None else int(newest[0])), marks, texts

    def _result(
        self, subscribers: list[Subscriber], followers: list[RowSubscriber], faults: Faults, tables: dict[str, int]
    ) -> Report:
        writes = self._marks.writes
        deliveries = [subscriber.delivery for subscriber in subscribers]
        violations = check_run(writes, deliveries, tables)
        return Report(
            commits=sum(write.outcome is Outcome.COMMITTED for write in writes),
            unknown=sum(write.outcome is Outcome.UNKNOWN for write in writes),
            aborted=sum(write.outcome is Outcome.ABORTED for write in writes),
            events=sum(subscriber.events for subscriber in subscribers),
            connections=sum(subscriber.connections for subscriber in subscribers),
            resyncs=sum(subscriber.resyncs for subscriber in subscribers),
            rows=sum(follower.events for follower in followers),
            unreadable=sum(follower.unreadable for follower in followers),
            longest_delay_s=longest_delay_s(writes, deliveries),
            faults=dict(faults.done),
            violations=[*self._violations, *map(str, violations)],
        )
