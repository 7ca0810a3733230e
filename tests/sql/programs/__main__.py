"""Run many programs: `python -m tests.sql.programs --count 20000`.

The first program of each kind of finding is made small and printed; the last lines count all findings.
`--seed S --only N` runs one program again.
"""

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Iterable

from tests.fixtures.postgres import Postgres, running_server

from .campaign import Campaign
from .pair import PROGRAMS, pair

_SHOWN_EVERY_S = 10.0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.sql.programs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=20_000, help="programs to run (%(default)s)")
    parser.add_argument("--first", type=int, default=0, help="the number of the first one")
    parser.add_argument("--only", type=int, metavar="N", help="run this one alone")
    parser.add_argument("--seed", default=str(random.randrange(1_000_000)))
    parser.add_argument("--shrink", type=float, default=30, help="seconds for making a program small (%(default)s)")
    parser.add_argument("--limit", type=float, default=float("inf"), help="seconds after which no program begins")
    parser.add_argument("--stop", action="store_true", help="stop at the first finding")
    parser.add_argument("--known", action="append", default=[], help="a kind of finding to count, and not to print")
    options = parser.parse_args()
    numbers = range(options.first, options.first + options.count)
    if options.only is not None:
        numbers = range(options.only, options.only + 1)
    print(f"seed {options.seed}, programs {numbers.start} to {numbers.stop - 1}", flush=True)
    with running_server() as server:
        run = _Run(server, options.seed, options.shrink, options.stop, set(options.known))
        return run.run(numbers, options.limit)


class _Run:
    def __init__(self, server: Postgres, seed: str, shrink_s: float, stops: bool, known: set[str]) -> None:
        self._server = server
        self._seed = seed
        self._shrink_s = shrink_s
        self._stops = stops
        self._printed = known
        self._kinds: Counter[str] = Counter()
        self._unsteady: list[str] = []
        self._covered: Counter[str] = Counter()
        self._missing: set[str] | None = None

    def run(self, numbers: range, limit_s: float) -> int:
        started = shown = time.monotonic()
        done = 0
        is_over = False
        for first in _parts(numbers):
            part = range(max(first, numbers.start), min(first + PROGRAMS, numbers.stop))
            with pair(self._server, self._seed, first) as both:
                campaign = Campaign(both, self._seed, both.check)
                for number in part:
                    self._one(campaign, number)
                    done += 1
                    is_over = bool(self._stops and self._kinds) or time.monotonic() - started > limit_s
                    if is_over:
                        break
                    if time.monotonic() - shown > _SHOWN_EVERY_S:
                        shown = time.monotonic()
                        print(f"{done} of {len(numbers)} programs, {(shown - started) / done:.2f} s each", flush=True)
                self._unsteady += campaign.unsteady
                missing = set(campaign.coverage.missing())
                self._missing = missing if self._missing is None else self._missing & missing
            if is_over:
                break
        print(f"{done} programs in {time.monotonic() - started:.0f} s")
        print(f"do not always do the same: {len(self._unsteady)}", *self._unsteady, sep="\n    ")
        print(f"never happened: {', '.join(sorted(self._missing or ())) or 'nothing'}")
        for kind, count in self._kinds.most_common():
            print(f"{count:6} {kind}")
        return 1 if self._kinds else 0

    def _one(self, campaign: Campaign, number: int) -> None:
        findings = campaign.findings(number)
        kinds = {finding.kind for finding in findings}
        self._kinds.update(kinds)
        for kind in sorted(kinds - self._printed):
            self._printed.add(kind)
            print(campaign.report(number, findings, kind, self._shrink_s), flush=True)


def _parts(numbers: range) -> Iterable[int]:
    return range(numbers.start // PROGRAMS * PROGRAMS, numbers.stop, PROGRAMS)


if __name__ == "__main__":
    sys.exit(main())
