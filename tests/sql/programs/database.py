"""Runs programs on one database, and records what their sessions saw.

Only one session runs at any time; the others are idle, or wait for a lock. So what a program does depends on nothing
but the program: a step whose session waits is delayed until it is free, and any wait that one of two databases
has alone was added by what is different there.
"""

import select
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

import psycopg

from .program import Program, Step
from .schema import FILLING, TABLES, create_tables
from .session import Outcome, Session
from .session_state import STATE, create_probe
from .statements import ROUTINES

__all__ = ["Database", "Record", "Trace"]

# With them a deadlock is found as soon as sessions wait.
_SETTINGS = {"deadlock_timeout": "1ms", "idle_in_transaction_session_timeout": "30s"}

# Long enough for a waiting session to look for a deadlock, after its deadlock_timeout.
_SETTLED_S = 0.012
# The first look at who waits. Looking costs as much as many a statement: later ones come less and less often.
_LOOK_S = 0.004
_MOST_LOOK_S = 0.1
_HANGS_S = 20.0

# A step that ends its wait by itself, see StatementWriter.
_TIMED = "lock timeout"
_TIMED_S = 1.0


@dataclass(frozen=True, slots=True)
class Record:
    """One step's outcome; `waited_for` are the sessions that it had to wait for, in the order of its waits."""

    number: int
    step: Step
    outcome: Outcome
    waited_for: tuple[tuple[int, ...], ...]


@dataclass(slots=True)
class Trace:
    """All records in the order in which the steps ended, the tables afterwards, and what broke a rule by itself.

    From the record of index `chance_from` on, what happened may depend on which of two sessions ran faster, which had
    waited for the same third one; None where nothing does.
    """

    records: list[Record] = field(default_factory=list)
    chance_from: int | None = None
    tables: dict[str, list[str]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Waiting:
    number: int
    step: Step
    waited_for: list[tuple[int, ...]] = field(default_factory=list)
    since: float | None = None


class Database:
    """`url` names a database with Flagent's tables, and a superuser."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.control = psycopg.connect(url, autocommit=True, prepare_threshold=None, client_encoding="UTF8")
        self.control.execute("set client_min_messages = error; set deadlock_timeout = '1ms'; set jit = off")
        self.server_version = self.control.info.server_version
        self._sessions: list[Session] = []

    def prepare(self) -> None:
        """Create the tables and the probes; once."""
        # Compiling what a session's settings make expensive would take most of the time. The rows of a join come in the
        # order of its plan, which depends on statistics of the moment: one kind of plan in both databases.
        for setting in ("jit", "enable_hashjoin", "enable_mergejoin"):
            self.control.execute(
                f"do $$ begin execute format('alter database %I set {setting} = off', current_database()); end $$"
            )
        create_tables(self.control)
        # A plan also depends on what was counted at a time that is chance.
        self.control.execute(
            "do $$ declare t regclass; begin for t in select c.oid from pg_class c where c.relkind = 'r'"
            " and c.relnamespace in ('app'::regnamespace, 'public'::regnamespace) loop"
            " execute format('alter table %s set (autovacuum_enabled = off)', t); end loop; end $$"
        )
        create_probe(self.control)
        self.control.execute(ROUTINES)
        if self.server_version >= 170_000:
            # What is created for a program changes no watched columns, and is not compared.
            self.control.execute("set event_triggers = off")

    def close(self) -> None:
        self.renew()
        self.control.close()

    def renew(self) -> None:
        """Let the next program begin with new sessions."""
        while self._sessions:
            self._sessions.pop().close()

    def sessions(self, count: int) -> Sequence[Session]:
        """Sessions as a pool has them: earlier programs may have used them, with DISCARD ALL at the end."""
        while len(self._sessions) < count:
            self._sessions.append(Session(self.url, **_SETTINGS))
        return self._sessions[:count]

    def empty(self) -> None:
        """Remove all rows, and what the last program has created."""
        self.control.execute(
            f"drop schema if exists prog cascade; truncate {', '.join(TABLES)} restart identity cascade".encode()
        )

    def fill(self, program: Program) -> None:
        """Insert the rows that every program begins with, and create its triggers."""
        self.control.execute(FILLING)
        created = ["create schema prog; grant usage on schema prog to public", *(one.sql for one in program.triggers)]
        self.control.execute(";\n".join(created).encode())

    def run(self, program: Program) -> Trace:
        """Run a program on filled tables."""
        return _Run(self, program).trace()

    def held(self) -> dict[str, list[str]]:
        """The rows of every table and the state of every sequence, as text, in no order."""
        queries = [f"select t::text from {name} t order by 1" for name in TABLES]
        queries.append(
            "select sequencename || ' ' || coalesce(last_value::text, '-') from pg_sequences"
            " where schemaname in ('app', 'public') order by 1"
        )
        cursor = self.control.execute("; ".join(queries).encode())
        found: dict[str, list[str]] = {}
        for name in (*TABLES, "sequences"):
            found[name] = [str(text) for (text,) in cursor]
            cursor.nextset()
        return found

    def blockers(self, pids: Sequence[int]) -> dict[int, tuple[list[int], bool]]:
        """For each process that waits for a lock: for whom, and whether it holds an advisory lock that is not of the
        program."""
        rows = self.control.execute(
            "select p.pid, pg_blocking_pids(p.pid), exists ("
            "    select from pg_locks l where l.pid = p.pid and l.locktype = 'advisory' and l.granted"
            "       and not (l.classid = 0 and l.objid < 100))"
            " from unnest(%s::integer[]) p (pid) where pg_blocking_pids(p.pid) <> '{}'",
            (list(pids),),
            prepare=True,
        )
        return {pid: (blocking, holds) for pid, blocking, holds in rows}


class _Run:
    def __init__(self, database: Database, program: Program) -> None:
        self._database = database
        self._program = program
        self._sessions = database.sessions(len(program.sessions))
        self._running: dict[int, _Waiting] = {}
        self._trace = Trace()

    def trace(self) -> Trace:
        try:
            for spec, session in zip(self._program.sessions, self._sessions, strict=True):
                for setting in spec.settings:
                    session.run(setting)
            self._steps()
            for number, session in enumerate(self._sessions):
                if session.is_in_transaction:
                    # Only where a program was made small, or was cut short by its errors.
                    self._start(-1, Step(number, "end", "rollback"))
                    self._settle()
                self._start(-1, Step(number, "state", "", is_ordered=True))
                self._settle()
                assert not self._running, "a session waits although all others are idle"
            for session in self._sessions:
                discarded = session.run("discard all")
                assert not discarded.is_error, discarded
            self._trace.tables = self._database.held()
        except BaseException:
            self._database.renew()
            raise
        return self._trace

    def _steps(self) -> None:
        pending = list(enumerate(self._program.steps))
        ended: set[int] = set()
        while pending or self._running:
            number = next((n for n, (_, step) in enumerate(pending) if step.session not in self._running), None)
            if number is None:
                # All that have something to do wait for one that has not.
                self._end_idle(ended)
            else:
                self._start(*pending.pop(number))
            self._settle()

    def _end_idle(self, ended: set[int]) -> None:
        """Take its locks from a session that has no more steps; if all wait, the system ends a deadlock."""
        idle = next((n for n in range(len(self._sessions)) if n not in self._running and n not in ended), None)
        if idle is None:
            sockets = [self._sessions[number] for number in self._running]
            assert select.select(sockets, [], [], _HANGS_S)[0], f"all sessions wait for each other:\n{self._program}"
            return
        ended.add(idle)
        self._start(-1, Step(idle, "end", "rollback; select pg_advisory_unlock_all()"))

    def _start(self, number: int, step: Step) -> None:
        sent = step if step.kind != "state" else Step(step.session, "state", STATE, is_ordered=True)
        self._sessions[step.session].send(sent)
        self._running[step.session] = _Waiting(number, step)

    def _settle(self) -> None:
        """Wait until every session is idle, or certain to wait for another one.

        Steps that end meanwhile are recorded in the order in which they were written: which one was first is chance.
        """
        begin = len(self._trace.records)
        waited = {number: waiting.waited_for[-1] for number, waiting in self._running.items() if waiting.waited_for}
        self._wait()
        freed = [by for number, by in waited.items() if self._is_freed(number, by)]
        if self._trace.chance_from is None and any(set(one) & set(other) for one, other in combinations(freed, 2)):
            self._trace.chance_from = begin
        self._trace.records[begin:] = sorted(self._trace.records[begin:], key=lambda record: record.number)

    def _is_freed(self, number: int, waited_for: tuple[int, ...]) -> bool:
        waiting = self._running.get(number)
        return waiting is None or waiting.waited_for[-1] != waited_for

    def _wait(self) -> None:
        started = time.monotonic()
        look_s = _LOOK_S
        while self._running:
            self._collect()
            if not self._running:
                return
            sockets = [self._sessions[number] for number in self._running]
            if select.select(sockets, [], [], look_s)[0]:
                look_s = _LOOK_S
                continue
            if self._all_wait():
                return
            look_s = max(_SETTLED_S, min(2 * look_s, _MOST_LOOK_S))
            if time.monotonic() - started > _HANGS_S:
                raise TimeoutError(f"neither done nor waiting for a lock:\n{self._program}")

    def _collect(self) -> None:
        for number, waiting in list(self._running.items()):
            outcome = self._sessions[number].receive()
            if outcome is not None:
                del self._running[number]
                self._trace.records.append(Record(waiting.number, waiting.step, outcome, tuple(waiting.waited_for)))

    def _all_wait(self) -> bool:
        """Whether every running session waits, and goes on to do so until another one does something.

        Only such waits are recorded: whether a shorter one is seen is chance.
        """
        numbers = {session.pid: number for number, session in enumerate(self._sessions)}
        now = time.monotonic()
        found = self._database.blockers([self._sessions[number].pid for number in self._running])
        blocked_by: dict[int, tuple[int, ...]] = {}
        for number, waiting in self._running.items():
            blocked = found.get(self._sessions[number].pid)
            if blocked is None:
                waiting.since = None
                continue
            by, holds_ours = blocked
            blocked_by[number] = tuple(sorted(numbers.get(pid, -1) for pid in by))
            if waiting.since is None:
                waiting.since = now
            if holds_ours:
                self._fault(
                    f"step {waiting.number} of session {number} waits for session {blocked_by[number]} while it holds"
                    f" the lock of the commit order: {waiting.step.sql}"
                )
        if not all(waiting.since is not None and now - waiting.since >= _patience(waiting.step)
                   for waiting in self._running.values()):  # fmt: skip
            return False
        for number, waiting in self._running.items():
            if waiting.waited_for[-1:] != [blocked_by[number]]:
                waiting.waited_for.append(blocked_by[number])
        return True

    def _fault(self, text: str) -> None:
        if text not in self._trace.faults:
            self._trace.faults.append(text)


def _patience(step: Step) -> float:
    return _TIMED_S if step.kind == _TIMED else _SETTLED_S
