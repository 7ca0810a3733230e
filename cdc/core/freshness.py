"""When it was last proven that nothing is missing, and for how long that holds (promise P7).

>>> proof = FreshnessTracker(100.0)
>>> proof.renew(104.0)
>>> proof.renew(102.0)
>>> proof.freshness(109.5, interval_s=3.0), proof.freshness(109.75, interval_s=3.0)
(Freshness(fresh=True, age_ms=5500), Freshness(fresh=False, age_ms=5750))
"""

from dataclasses import dataclass

__all__ = ["Freshness", "FreshnessTracker"]

# A proof holds for this many of the intervals in which it is renewed, and a second more for a busy machine.
_INTERVALS = 1.5
_GRACE_S = 1.0


@dataclass(frozen=True, slots=True)
class Freshness:
    """Whether the catalog is proven current, and how long ago that was last proven, in milliseconds."""

    fresh: bool
    age_ms: int


class FreshnessTracker:
    """`at` is a time of the clock that all times given here are of, in seconds."""

    def __init__(self, at: float) -> None:
        self._at = at

    def renew(self, at: float) -> None:
        """At this time nothing was missing. Answers may come in another order than they were asked for."""
        self._at = max(self._at, at)

    def freshness(self, now: float, interval_s: float, *, is_hearing: bool = True) -> Freshness:
        """Nobody who hears nothing is fresh, however young the proof."""
        age_s = now - self._at
        return Freshness(is_hearing and age_s <= interval_s * _INTERVALS + _GRACE_S, int(age_s * 1000))
