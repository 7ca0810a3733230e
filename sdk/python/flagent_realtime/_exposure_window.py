"""Which evaluations are exposures: the first per key within a window, of a bounded number of keys. Pure."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable


class ExposureWindow:
    """Remembers up to *limit* keys; the least recently evaluated is forgotten. Times are in seconds. Thread-safe."""

    def __init__(self, window_s: float = 3600.0, limit: int = 10_000) -> None:
        self._window_s = window_s
        self._limit = limit
        self._first: OrderedDict[Hashable, float] = OrderedDict()
        self._lock = threading.Lock()

    def is_first(self, key: Hashable, now: float) -> bool:
        """Whether an evaluation is the first of its key in this window."""
        with self._lock:
            began = self._first.get(key)
            is_first = began is None or now - began >= self._window_s
            if is_first:
                self._first[key] = now
            self._first.move_to_end(key)
            while len(self._first) > self._limit:
                self._first.popitem(last=False)
            return is_first
