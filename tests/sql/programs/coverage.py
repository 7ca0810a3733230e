"""What programs have done: a property of programs that do nothing holds without any proof."""

import random
import re
from collections import Counter
from collections.abc import Iterator

from . import triggers
from .database import Trace
from .program import Program
from .statements import StatementWriter

__all__ = ["Coverage"]

_STEPS = (
    "begin",
    "commit",
    "rollback",
    "savepoint",
    "rollback to",
    "release",
    "state",
    "crossing",
    "check at commit",
    "undoing",
)

# Succeeds when it raises an error; and what may do either.
_FAILING = "fail"
_OPEN = "lastval"

_EVENTS = (
    "a wait", "a wait at commit", "a deadlock", "a conflict of serializable or repeatable reads", "an error at commit",
    "a trigger fired by a trigger", "a notice", "several results of one message", "the extended protocol",
    "an error undone by a savepoint", "a cancelled wait",
)  # fmt: skip


class Coverage:
    """Counts each kind of statement that succeeded, each kind of trigger, and what else programs are made for."""

    def __init__(self, server_version: int) -> None:
        kinds = StatementWriter(random.Random(0), server_version).kinds
        self.counts: Counter[str] = Counter()
        self.programs = 0
        self._expected = {
            *(f"statement {kind}" for kind in (*kinds, *_STEPS)),
            *(f"trigger {kind}" for kind in triggers.KINDS),
            *_EVENTS,
        }  # fmt: skip

    def add(self, program: Program, trace: Trace) -> None:
        self.programs += 1
        self.counts.update(f"trigger {trigger.kind}" for trigger in program.triggers)
        self.counts.update(
            f"statement {record.step.kind}"
            for record in trace.records
            if record.step.kind == _OPEN or record.outcome.is_error == (record.step.kind == _FAILING)
        )
        self.counts.update(_events(trace))

    def missing(self) -> list[str]:
        return sorted(kind for kind in self._expected if not self.counts[kind])

    def __str__(self) -> str:
        return ", ".join(f"{kind} {self.counts[kind]}" for kind in sorted(self._expected))


def _events(trace: Trace) -> Iterator[str]:
    status: dict[int, str] = {}
    for record in trace.records:
        outcome, session = record.outcome, record.step.session
        if record.waited_for:
            yield "a wait"
            if record.step.kind == "commit":
                yield "a wait at commit"
        if outcome.sqlstate == "40P01":
            yield "a deadlock"
        if outcome.sqlstate == "40001":
            yield "a conflict of serializable or repeatable reads"
        if outcome.sqlstate == "55P03":
            yield "a cancelled wait"
        if outcome.is_error and record.step.kind == "commit" and status.get(session) == "INTRANS":
            yield "an error at commit"
        if outcome.notices:
            yield "a notice"
        if any(re.search("depth [23]", notice) for notice in outcome.notices):
            yield "a trigger fired by a trigger"
        if len(outcome.results) > 1:
            yield "several results of one message"
        if record.step.is_extended:
            yield "the extended protocol"
        if record.step.kind == "rollback to" and status.get(session) == "INERROR" and not outcome.is_error:
            yield "an error undone by a savepoint"
        status[session] = outcome.transaction_status
    if any(" 2)" in row or ' 2")' in row for row in trace.tables.get("app.audit", ())):
        yield "a trigger fired by a trigger"
