"""When to publish what was heard: at once, or together with what arrives within the coalescing window.

Waiting for others pays where a publication is expensive, because many subscribers are connected, and never longer than
the last one took: with few subscribers nothing ever waits.
"""

import asyncio
from collections.abc import Callable

__all__ = ["Coalescer"]

# A publication that takes less is not worth waiting for others: epoll counts in whole milliseconds, so that the
# shortest wait there is would be longer than the work it saves.
_EXPENSIVE_S = 0.001


class Coalescer:
    """Calls `publish` on the loop's thread; `window_s` is the longest that a commit waits for others."""

    def __init__(self, window_s: float, publish: Callable[[], None]) -> None:
        self._window_s = window_s
        self._publish = publish
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def request(self) -> None:
        """Something is there to be published."""
        if self._timer is None:
            loop = asyncio.get_running_loop()
            if loop.time() >= self._due:
                self._publish()
            else:
                self._timer = loop.call_at(self._due, self._run)

    def published(self, took_s: float) -> None:
        """Something was published just now, which took so long."""
        pause_s = min(self._window_s, took_s) if took_s >= _EXPENSIVE_S else 0.0
        self._due = asyncio.get_running_loop().time() + pause_s

    def cancel(self) -> None:
        """Forget what was requested."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run(self) -> None:
        self._timer = None
        self._publish()
