"""Two databases of one server with the same tables; one of them is captured. Programs run on both, and are compared."""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from tests.fixtures.postgres import Postgres

from .database import Database, Record, Trace
from .finding import Finding, shortened
from .program import Program
from .schema import Watching
from .truth import Truth

__all__ = ["PROGRAMS", "Pair", "pair"]


class Pair:
    """`check` runs one program; no findings: writers notice nothing and all readers are right."""

    def __init__(self, plain: Database, captured: Database, predicates: Mapping[str, str]) -> None:
        self.plain = plain
        self.captured = captured
        self.truth = Truth(captured.url, predicates)

    def close(self) -> None:
        self.truth.close()
        self.plain.close()
        self.captured.close()

    @property
    def server_version(self) -> int:
        return self.plain.server_version

    def renew(self) -> None:
        """Let the next program begin with new sessions."""
        self.plain.renew()
        self.captured.renew()

    def check(self, program: Program) -> tuple[Trace, list[Finding]]:
        """Both `compare` and `verify`, with one run on each database."""
        plain = _run(self.plain, program)
        captured, findings = self.verify(program)
        return captured, [*differences(plain, captured), *findings]

    def compare(self, program: Program) -> tuple[Trace, list[Finding]]:
        """Run a program on both databases: what happened in the captured one, and what its writers noticed."""
        plain, captured = _run(self.plain, program), _run(self.captured, program)
        return captured, list(differences(plain, captured))

    def verify(self, program: Program) -> tuple[Trace, list[Finding]]:
        """Run a program on the captured database: what happened, and what its readers got wrong."""
        self.captured.empty()
        self.truth.begin()
        self.captured.fill(program)
        trace = self.captured.run(program)
        return trace, [replace(finding, is_of_readers=True) for finding in self.truth.findings()]

    def is_repeatable(self, program: Program) -> bool:
        """Whether the program does the same each time on the database that is not captured, in new sessions."""
        traces: list[Trace] = []
        for _ in range(3):
            self.plain.renew()
            traces.append(_run(self.plain, program))
        return not any(list(differences(traces[0], other)) for other in traces[1:])


def _run(database: Database, program: Program) -> Trace:
    database.empty()
    database.fill(program)
    return database.run(program)


PROGRAMS = 100
"""How many programs of consecutive numbers have their tables in the same lanes."""


@contextmanager
def pair(postgres: Postgres, seed: str, number: int) -> Iterator[Pair]:
    """The pair for the program of this number, and for those that have the same lanes."""
    with postgres.database("flagent") as plain_url, postgres.database("migrated") as captured_url:
        plain, captured = Database(plain_url), Database(captured_url)
        plain.prepare()
        captured.prepare()
        watching = Watching.of(random.Random(f"{seed}/lanes {number // PROGRAMS}"))
        watching.apply(captured.control)
        both = Pair(plain, captured, watching.predicates)
        try:
            yield both
        finally:
            both.close()


def differences(plain: Trace, captured: Trace) -> Iterator[Finding]:
    """What is different in a captured database. The first ones may be the cause of those that follow.

    Only what does not depend on chance is compared: see `Trace`. Were it capture that lets two sessions wait for a
    third, their waits would differ.
    """
    yield from (Finding("the holder of the commit lock waits", fault) for fault in captured.faults)
    compared = plain.records[: plain.chance_from]
    for one, other in zip(compared, captured.records, strict=False):
        if one.number != other.number:
            yield Finding("order", f"step {one.number} ends first plain, step {other.number} captured")
            return
        yield from _differ(one, other)
    if plain.chance_from is not None:
        return
    if len(plain.records) != len(captured.records):
        yield Finding("count", f"{len(plain.records)} steps ended plain, {len(captured.records)} captured")
    for name, rows in plain.tables.items():
        if rows != captured.tables[name]:
            yield Finding(f"table {name}", _two_sides(rows, captured.tables[name]))


def _differ(one: Record, other: Record) -> Iterator[Finding]:
    where = f"step {one.number}, session {one.step.session}, {one.step.kind}"
    if one.waited_for != other.waited_for:
        yield Finding("waits", f"{where}{_two_sides([one.waited_for], [other.waited_for])}")
    for name in ("notices", "notifications", "transaction_status", "parameters"):
        before, after = getattr(one.outcome, name), getattr(other.outcome, name)
        if before != after:
            yield Finding(name, f"{where}{_two_sides([before], [after])}")
    results, others = one.outcome.results, other.outcome.results
    if len(results) != len(others) or any(a.error != b.error for a, b in zip(results, others, strict=True)):
        states = f"{one.outcome.sqlstate or 'success'}, captured {other.outcome.sqlstate or 'success'}"
        yield Finding(f"plain {states}", f"{where}{_two_sides(results, others)}")
        return
    for a, b in zip(results, others, strict=True):
        if a.rows != b.rows:
            items = sorted({str(row[0]) for row in set(a.rows) ^ set(b.rows)}) if one.step.kind == "state" else []
            kind = " ".join(["state", *items]) if items else f"rows of {one.step.kind}"
            yield Finding(kind, f"{where}{_two_sides(a.rows, b.rows)}")
        elif a != b:
            yield Finding("result", f"{where}{_two_sides([a], [b])}")


def _two_sides(plain: Sequence[object], captured: Sequence[object]) -> str:
    """What is on one side alone; everything where only the order differs."""
    one, other = list(map(str, plain)), list(map(str, captured))
    less, more = Counter(one) - Counter(other), Counter(other) - Counter(one)
    return "".join(
        f"\n        {name:8} {shortened('; '.join(alone.elements() if less or more else all))}"
        for name, alone, all in (("plain", less, one), ("captured", more, other))
    )
