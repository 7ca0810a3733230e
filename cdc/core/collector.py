"""Python's collector of cycles, while much is made at once that has none.

Every so many new objects it looks through all of them. While flags are loaded, or a large commit is applied, that takes
half of the time; and the first full pass after it would stop everything else for as long as it takes to look through
hundreds of thousands of objects, all of which are still used.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["collector_paused"]

# How many are in a pause, and whether the collector ran before the first.
_pauses: list[bool] = []


@contextmanager
def collector_paused() -> Iterator[None]:
    """For `with`, also several at once. What exists at the end of the last one is never looked through again; it is
    freed, as ever, when nothing refers to it."""
    _pauses.append(gc.isenabled())
    gc.disable()
    try:
        yield
    finally:
        # Whichever ends first: the oldest entry says what was before all of them.
        was_enabled = _pauses[0]
        _pauses.pop()
        if not _pauses and was_enabled:
            gc.freeze()
            gc.enable()
