"""Random programs: a few sessions with settings of their own, and what they do, interleaved in one order.

The program of a seed and a number is always the same for a server of one major version.
"""

import random
from collections.abc import Iterator, Sequence

from . import triggers
from .program import Program, SessionSpec, Step
from .schema import COUNTED, WRITER_ROLE
from .statements import Statement, StatementWriter

__all__ = ["random_program"]

_SETTINGS: Sequence[tuple[str, ...]] = (
    (),
    (
        "set timezone = 'America/St_Johns'", "set datestyle = 'SQL, DMY'", "set intervalstyle = 'iso_8601'",
        "set bytea_output = 'escape'", "set extra_float_digits = -15", "set xmlbinary = hex",
        "set default_transaction_isolation = 'repeatable read'",
    ),
    (
        "set client_encoding = 'LATIN1'", "set timezone = 'Asia/Kolkata'", "set datestyle = 'German'",
        "set standard_conforming_strings = off", "set escape_string_warning = off",
        "set intervalstyle = 'sql_standard'", "set quote_all_identifiers = on", "set search_path = app, public",
        "set default_transaction_isolation = 'serializable'",
    ),
    (
        f"set role {WRITER_ROLE}", "set datestyle = 'Postgres, MDY'", "set extra_float_digits = 3",
        "set statement_timeout = '30s'", "set plan_cache_mode = force_custom_plan", "set row_security = off",
        "set default_transaction_deferrable = on", "set enable_indexscan = off", "set enable_nestloop = off",
    ),
    ("set lc_monetary = 'C.UTF-8'", "set lc_numeric = 'C.UTF-8'", "set timezone = 'UTC'", "set jit = off"),
)  # fmt: skip
"""Each a set of settings of a session."""


# Kinds that wait for each other's rows.
_CONTENDED = (
    "touch", "update one", "update many", "update key", "lock rows", "flag update", "cte", "delete", "insert",
    "lock timeout", "advisory lock",
)  # fmt: skip


def random_program(seed: str, number: int, server_version: int) -> Program:
    """Every kind of statement, of trigger and of settings has its turn among programs of consecutive numbers."""
    rng = random.Random(f"{seed}/{number}/{server_version // 10_000}")
    count = rng.choice([1, 2, 2, 2, 2, 3])
    chosen = [(number + n) % len(_SETTINGS) for n in range(count)] if rng.random() < 0.7 else [0] * count
    focus = rng.sample(list(COUNTED), rng.choice([1, 2, 2]))
    author = _Author(rng, StatementWriter(rng, server_version, focus), is_contended=count > 1 and rng.random() < 0.5)
    kinds = list(author.writer.kinds)
    steps = [list(author.session(n, kinds[(number * 3 + n * 7) % len(kinds)])) for n in range(count)]
    kind = triggers.KINDS[number % len(triggers.KINDS)]
    return Program(
        f"{seed}/{number}",
        triggers.random_triggers(rng, kind, focus) if rng.random() < 0.9 else (),
        tuple(SessionSpec(_SETTINGS[n]) for n in chosen),
        (*_interleaved(rng, steps, 0.8 if author.is_contended else 0.4), *_meeting(rng, number, count, focus)),
    )


def _meeting(rng: random.Random, number: int, sessions: int, focus: Sequence[str]) -> Iterator[Step]:
    """What ends most programs: errors that are undone, and sessions that wait for each other. Chance alone would
    seldom lead to them.
    """
    scenes = [_undoing(rng, focus)]
    if sessions > 1:
        scenes = [*scenes, _crossing(rng, focus), _check_at_commit(rng), _cancelled(rng, focus)]
    if number % 5 == 4:
        return
    for session, kind, sql in scenes[number % 5 % len(scenes)]:
        yield Step(session, kind, sql)
    for session in range(min(sessions, 2)):
        yield Step(session, "end", "rollback")


_Lines = Iterator[tuple[int, str, str]]


def _updates(rng: random.Random, focus: Sequence[str]) -> list[str]:
    """Of two rows of one table."""
    table = rng.choice([name for name in COUNTED if name in focus or name == "app.customers"])
    column = COUNTED[table][1]
    name = "order_id" if table == "app.items" else "id"
    return [f"update {table} set {column} = {column} + 1 where {name} = {n}" for n in (1, 2)]


def _undoing(rng: random.Random, focus: Sequence[str]) -> _Lines:
    """Changes before, in and after a savepoint whose changes an error undoes."""
    first, second = _updates(rng, focus)
    yield 0, "begin", "begin"
    yield 0, "undoing", first
    yield 0, "savepoint", "savepoint s"
    yield 0, "undoing", rng.choice([first, second])
    if rng.random() < 0.5:
        yield 0, "set constraints", "set constraints all immediate"
    yield 0, "fail", "select 1 / 0"
    yield 0, "rollback to", "rollback to s"
    yield 0, "undoing", rng.choice([first, second])
    if rng.random() < 0.4:
        yield 0, "undoing", "insert into app.orders (customer_id) values (99999)"
    yield 0, "commit", "commit"


def _cancelled(rng: random.Random, focus: Sequence[str]) -> _Lines:
    """One session gives up its wait."""
    first, second = _updates(rng, focus)
    yield 0, "begin", "begin"
    yield 0, "undoing", first
    yield 1, "begin", "begin"
    yield 1, "lock timeout", "set local lock_timeout = '60ms'"
    yield 1, "lock timeout", second
    yield 1, "savepoint", "savepoint s"
    yield 1, "lock timeout", first
    yield 1, "rollback to", "rollback to s"
    yield 1, "commit", "commit"
    yield 0, "commit", "commit"


def _crossing(rng: random.Random, focus: Sequence[str]) -> _Lines:
    """Both change the same two rows, often in opposite order."""
    updates = _updates(rng, focus)
    others = ["insert into app.orders (customer_id) values (1)", "update public.flags set notes = 'x'"]
    for session in (0, 1):
        yield session, "begin", "begin"
    for session in (0, 1):
        yield session, "crossing", updates[session]
    for session in (0, 1):
        yield session, "crossing", rng.choice([updates[1 - session]] * 6 + others)
    for session in (0, 1):
        end = rng.choice(["commit", "commit", "rollback"])
        yield session, end, end


def _check_at_commit(rng: random.Random) -> _Lines:
    """At its COMMIT one session's deferred constraints are checked, and wait for a row that the other has locked."""
    writes = [
        "update public.flags set notes = 'x' where id = 2", "insert into app.notes values ('x', 'y')",
        "update app.regions set version = version + 1", "update app.typed set c1 = 1",
    ]  # fmt: skip
    row = rng.choice([1, 2])
    lock, check = rng.choice([
        (f"select id from app.customers where id = {row} for update",
         f"insert into app.orders (customer_id) values ({row})"),
        ("insert into app.customers (name, rank) values ('r', 77)",
         "insert into app.customers (name, rank) values ('s', 77)"),
        (f"delete from app.customers where id = {row}", f"update app.orders set customer_id = {row} where id = 4"),
    ])  # fmt: skip
    yield 0, "begin", "begin"
    yield 1, "begin", "begin"
    yield 0, "check at commit", lock
    yield 1, "check at commit", rng.choice(writes)
    yield 1, "check at commit", check
    if rng.random() < 0.3:
        yield 1, "check at commit", rng.choice(writes)
    if rng.random() < 0.2:
        yield 1, "set constraints", "set constraints all immediate"
    yield 1, "commit", "commit"
    yield 0, "check at commit", rng.choice(writes)
    yield 0, "commit", rng.choice(["commit", "commit", "rollback"])


class _Author:
    """Writes what sessions do."""

    def __init__(self, rng: random.Random, writer: StatementWriter, *, is_contended: bool) -> None:
        self._rng = rng
        self.writer = writer
        self.is_contended = is_contended

    def session(self, number: int, forced: str) -> Iterator[Step]:
        """Transactions, and statements outside of them; one of the kind `forced`."""
        units = self._rng.randrange(2, 6)
        turn = self._rng.randrange(units)
        for unit in range(units):
            kind = forced if unit == turn else self._kind()
            statements = self.writer.write(kind)
            is_whole = statements[0].sql == "begin" or any(statement.is_alone for statement in statements)
            if is_whole or self._rng.random() < (0.1 if self.is_contended else 0.4):
                yield from self._written(number, kind, statements)
            else:
                yield from self._transaction(number, kind, statements)
        yield Step(number, "end", "rollback")

    def _kind(self) -> str:
        return self.writer.random_kind(_CONTENDED if self.is_contended else None)

    def _transaction(self, session: int, kind: str, statements: Sequence[Statement]) -> Iterator[Step]:
        rng = self._rng
        isolation = rng.choice(["", "", "", " isolation level repeatable read", " isolation level serializable"])
        yield Step(session, "begin", f"begin{isolation}")
        depth = 0
        for n in range(rng.randrange(1, 6)):
            chance = rng.random()
            if chance < 0.2:
                depth += 1
                yield Step(session, "savepoint", f"savepoint s{depth}")
            elif chance < 0.35 and depth:
                yield Step(session, "rollback to", f"rollback to s{depth}")
            elif chance < 0.4 and depth:
                yield Step(session, "release", f"release s{depth}")
                depth -= 1
            if n == 0:
                yield from self._written(session, kind, statements)
            else:
                yield from self._in_block(session)
        if depth and rng.random() < 0.5:
            yield Step(session, "rollback to", "rollback to s1")
        end = rng.choice(["commit"] * 7 + ["rollback", "commit and chain", "end"])
        yield Step(session, "commit" if end != "rollback" else "rollback", end)

    def _in_block(self, session: int) -> Iterator[Step]:
        while True:
            kind = self._kind()
            statements = self.writer.write(kind)
            is_whole = statements[0].sql == "begin" or any(statement.is_alone for statement in statements)
            # Most of these fail a transaction block, which hides what follows.
            if not is_whole or self._rng.random() < 0.05:
                yield from self._written(session, kind, statements)
                return

    def _written(self, session: int, kind: str, statements: Sequence[Statement]) -> Iterator[Step]:
        for statement in statements:
            yield _step(self._rng, session, kind, statement)
        if self._rng.random() < 0.12:
            yield Step(session, "state", "", is_ordered=True)


def _step(rng: random.Random, session: int, kind: str, statement: Statement) -> Step:
    is_extended = statement.may_be_extended and rng.random() < 0.4
    return Step(session, kind, statement.sql, statement.copy, is_extended, statement.is_ordered)


def _interleaved(rng: random.Random, sessions: list[list[Step]], change: float) -> Iterator[Step]:
    """The steps of all sessions in one order; `change` is how probable it is that another session has the next step."""
    waiting = [steps for steps in sessions if steps]
    current = rng.choice(waiting)
    while waiting:
        if current not in waiting or rng.random() < change:
            current = rng.choice(waiting)
        yield current.pop(0)
        waiting = [steps for steps in waiting if steps]
