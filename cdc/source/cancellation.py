"""Ending tasks that may miss their cancellation.

`asyncio.wait_for` of Python 3.11 drops a cancellation when what it waits for is done at the same moment
(python/cpython#86296), and nats-py waits with it. A caller that cancels once and then waits may wait for ever.
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, Protocol

__all__ = ["Stoppable", "cancel_and_wait", "stop_and_wait"]

logger = logging.getLogger(__name__)

# Long enough for a task that notices at once to close what it has open.
_AGAIN_S = 3.0

# How long a task may take to return by itself.
_STOP_S = 0.5


class Stoppable(Protocol):
    """A follower, or maintenance."""

    def stop(self) -> None: ...


async def cancel_and_wait(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancel tasks, again and again, until they have ended, however they end."""
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        ended, pending = await asyncio.wait(pending, timeout=_AGAIN_S)
        for task in ended:
            if not task.cancelled():
                task.exception()  # Retrieved, so that asyncio does not complain.


async def stop_and_wait(
    parts: Iterable[Stoppable], tasks: Iterable["asyncio.Task[Any]"], cancelled: Iterable["asyncio.Task[Any]"] = ()
) -> None:
    """Stop parts of a source, and wait for the end of the tasks that run them, and of those `cancelled` already.

    A stop shuts the socket down. A cancellation alone would make a driver first ask the other side, which may be
    silent, to cancel its query; it comes only where the stop was not enough. An error that ended one of the tasks is
    logged: nothing else reports it.
    """
    running = list(tasks)
    for part in parts:
        part.stop()
    await asyncio.wait(running, timeout=_STOP_S)
    await cancel_and_wait((*running, *cancelled))
    for task in running:
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error(
                "A task of the source failed",
                extra={"action": "source_task_failed", "task": task.get_name()},
                exc_info=error,
            )
