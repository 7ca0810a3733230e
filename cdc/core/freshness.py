"""Freshness: when it was last confirmed that nothing is missing, and for how long that holds (promise P7).

>>> tracker = FreshnessTracker(100.0)
>>> tracker.renew(104.0)
>>> tracker.renew(102.0)
>>> tracker.freshness(109.5, interval_s=3.0), tracker.freshness(109.75, interval_s=3.0)
(Freshness(fresh=True, age_ms=5500), Freshness(fresh=False, age_ms=5750))
"""

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Freshness", "FreshnessTracker", "ShownFreshness"]

# A confirmation holds for this many of the intervals in which it is renewed, plus a second for a busy machine.
_INTERVALS = 1.5
_GRACE_S = 1.0


@dataclass(frozen=True, slots=True)
class Freshness:
    """Whether the catalog is confirmed current, and how long ago that was last confirmed, in milliseconds."""

    fresh: bool
    age_ms: int


class FreshnessTracker:
    """Holds the last confirmation. All times are seconds of one clock; `at` is the first of them."""

    def __init__(self, at: float) -> None:
        self._at = at

    def renew(self, at: float) -> None:
        """Nothing was missing at this time. Calls may come out of order: answers overtake each other."""
        self._at = max(self._at, at)

    def freshness(self, now: float, interval_s: float, *, is_hearing: bool = True) -> Freshness:
        """The freshness at `now`; never fresh unless `is_hearing`, however recent the confirmation."""
        age_s = now - self._at
        return Freshness(is_hearing and age_s <= interval_s * _INTERVALS + _GRACE_S, int(age_s * 1000))


class ShownFreshness:
    """Asks for the freshness shown to clients, and counts how often it was another than in the answer before.

    >>> answers = iter([True, False, True, True])
    >>> shown = ShownFreshness(lambda: Freshness(next(answers), 0))
    >>> [(shown().fresh, shown.changes) for _ in range(4)]
    [(True, 0), (False, 1), (True, 2), (True, 2)]
    """

    def __init__(self, ask: Callable[[], Freshness]) -> None:
        self._ask = ask
        self._last: bool | None = None
        self.changes = 0

    def __call__(self) -> Freshness:
        now = self._ask()
        if self._last is not now.fresh:
            self.changes += self._last is not None
            self._last = now.fresh
        return now
