"""Ending tasks that may not hear that they are to end.

`asyncio.wait_for` of Python 3.11 takes a cancellation for nothing when what it waits for is done at the same moment
(python/cpython#86296), and nats-py waits with it. Somebody who cancels once and then waits may wait for ever.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

__all__ = ["end"]

# Long enough for who hears it at once to close what it has open.
_AGAIN_S = 3.0


async def end(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancel them until they have ended, however they end."""
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        ended, pending = await asyncio.wait(pending, timeout=_AGAIN_S)
        for task in ended:
            if not task.cancelled():
                task.exception()  # Looked at, so that asyncio does not complain.
