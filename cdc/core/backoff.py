"""How long to wait before what broke is tried again.

Each pause is twice as long as the one before it, up to a most. After a session that lasted it is short again, but not
after just any connection: one that breaks at once proves nothing. Jitter keeps those who were cut off together from
coming back together.

>>> backoff = Backoff(first_s=1, most_s=3, proven_s=10)
>>> [backoff.pause_s(lasted_s, jitter=1) for lasted_s in (0, 0, 0, 5, 10.5)]
[1.0, 2.0, 3.0, 3.0, 1.0]
>>> backoff.pause_s(0, jitter=0)
1.0
"""

__all__ = ["Backoff"]


class Backoff:
    """All in seconds; `proven_s` is what a session must have lasted for longer than."""

    def __init__(self, *, first_s: float, most_s: float, proven_s: float) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._proven_s = proven_s
        self._next_s = first_s

    def pause_s(self, lasted_s: float, jitter: float) -> float:
        """The pause after a session that lasted so long: half of it fixed, half of it times `jitter`, from 0 to 1."""
        if lasted_s > self._proven_s:
            self._next_s = self._first_s
        pause_s, self._next_s = self._next_s, min(self._next_s * 2, self._most_s)
        return pause_s / 2 + pause_s / 2 * jitter
