"""Runs programs of one seed, one after the other, until one of them fails."""

import time
from collections.abc import Callable, Iterable, Sequence

from .coverage import Coverage
from .database import Trace
from .finding import Finding
from .generator import random_program
from .pair import Pair
from .program import Program
from .shrink import shrunk

__all__ = ["Campaign", "Check"]

Check = Callable[[Program], tuple[Trace, list[Finding]]]
"""Runs one program: what happened, and what was wrong; `Pair.check`, `Pair.compare` or `Pair.verify`."""

# As a pool's, the sessions of one program are used for the next ones too; and replaced, so that what needs earlier
# programs can be found again with few of them.
_SESSIONS_LAST = 25

# So often a difference must come again, with the same program.
_CONFIRMED = 3

# What two sessions do at the same time is the system's choice, and not all of it is seen. On a busy machine there are
# more of these.
_MOST_UNSTEADY = 0.03


class Campaign:
    """`seed` and a program's number make the program."""

    def __init__(self, pair: Pair, seed: str, check: Check) -> None:
        self._pair = pair
        self._seed = seed
        self._check = check
        self._first = 0
        self.coverage = Coverage(pair.server_version)
        self.unsteady: list[str] = []

    def run(self, numbers: Iterable[int], shrink_s: float) -> str | None:
        """Run these programs; a report about the first that fails."""
        for number in numbers:
            findings = self.findings(number)
            if findings:
                return self.report(number, findings, findings[0].kind, shrink_s)
        return None

    def findings(self, number: int) -> list[Finding]:
        if number % _SESSIONS_LAST == 0:
            self._renew(number)
        program = self._program(number)
        trace, findings = self._check(program)
        self.coverage.add(program, trace)
        if not findings:
            return []
        noticed = [finding for finding in findings if not finding.is_of_readers]
        if noticed and not self._is_steady(program, {finding.kind for finding in noticed}, range(self._first, number)):
            self.unsteady.append(f"{program.name}: {noticed[0]}")
            findings = [finding for finding in findings if finding.is_of_readers]
        self._renew(number + 1)
        return findings

    def report(self, number: int, findings: Sequence[Finding], kind: str, shrink_s: float) -> str:
        """The findings of a program, and the smallest program found within `shrink_s` that has one of that kind."""
        program = self._program(number)
        lines = [f"program {program.name}, of {len(program.steps)} steps:", *_listed(findings)]
        started = time.monotonic()
        small = shrunk(program, lambda one: self._has(one, kind), shrink_s)
        self._pair.renew()
        _, left = self._check(small)
        self._renew(number + 1)
        lines += [
            f"with {len(small.steps)} steps, made small in {time.monotonic() - started:.0f} s:",
            *_listed(left),
            str(small),
        ]
        return "\n".join(lines)

    @property
    def has_too_many_unsteady(self) -> bool:
        return len(self.unsteady) > max(_MOST_UNSTEADY * self.coverage.programs, 2)

    def _program(self, number: int) -> Program:
        return random_program(self._seed, number, self._pair.server_version)

    def _renew(self, first: int) -> None:
        """New sessions, of which a program of this number is the first."""
        self._pair.renew()
        self._first = first

    def _is_steady(self, program: Program, kinds: set[str], before: Iterable[int]) -> bool:
        """Whether a comparison fails again, in new sessions or in some that have run the programs `before`.

        Else it failed because the program itself does not always do the same, or only this once: on a busy machine, the
        order in which two waiting sessions go on may change at any time.
        """
        if not self._pair.is_repeatable(program):
            return False
        if any(all(self._has(program, kind) for _ in range(_CONFIRMED)) for kind in kinds):
            return True
        self._pair.renew()
        for number in before:
            self._check(self._program(number))
        again = [{finding.kind for finding in self._check(program)[1]} for _ in range(_CONFIRMED)]
        return bool(kinds.intersection(*again))

    def _has(self, program: Program, kind: str) -> bool:
        self._pair.renew()
        return any(finding.kind == kind for finding in self._check(program)[1])


def _listed(findings: Sequence[Finding]) -> list[str]:
    """The first of each kind."""
    first = {finding.kind: finding for finding in reversed(findings)}
    return [f"    {finding}" for finding in reversed(first.values())]
