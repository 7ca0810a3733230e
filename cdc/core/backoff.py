"""Exponential backoff with jitter for reconnects.

Each pause doubles the previous one, up to a maximum. Only a session that lasted resets the pause: a connection that
breaks at once proves nothing. Jitter spreads the reconnects of clients that were disconnected at the same time.

>>> backoff = Backoff(first_s=1, most_s=3, proven_s=10)
>>> [backoff.pause_s(lasted_s, jitter=1) for lasted_s in (0, 0, 0, 5, 10.5)]
[1.0, 2.0, 3.0, 3.0, 1.0]
>>> backoff.pause_s(0, jitter=0)
1.0
"""

__all__ = ["Backoff"]


class Backoff:
    """Computes pauses, in seconds. A session longer than `proven_s` resets the pause to `first_s`."""

    def __init__(self, *, first_s: float, most_s: float, proven_s: float) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._proven_s = proven_s
        self._next_s = first_s

    def pause_s(self, lasted_s: float, jitter: float) -> float:
        """The pause after a session of `lasted_s`: half of it fixed, half multiplied by `jitter`, from 0 to 1."""
        if lasted_s > self._proven_s:
            self._next_s = self._first_s
        pause_s, self._next_s = self._next_s, min(self._next_s * 2, self._most_s)
        return pause_s / 2 + pause_s / 2 * jitter
