"""Calls handlers in order, one at a time, from a bounded queue.

While the queue is full, the reader waits in :meth:`Dispatcher.room` and the socket is not read: a slow handler causes
TCP backpressure instead of memory growth.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from ._interpreter import is_interpreter_shutdown
from .errors import HandlerFailed

logger = logging.getLogger(__name__)

Handler = Callable[..., Any]
Invoke = Callable[[Handler, tuple[Any, ...]], Awaitable[None]]
Item = Callable[[], Awaitable[None]]


async def invoke_here(handler: Handler, args: tuple[Any, ...]) -> None:
    """Call a handler in this task and await it when it is asynchronous."""
    result = handler(*args)
    if inspect.isawaitable(result):
        await result


class Dispatcher:
    """Runs queued items one after another. ``limit`` is the number of items at which the queue counts as full."""

    def __init__(self, limit: int, invoke: Invoke = invoke_here) -> None:
        self._limit = limit
        self._invoke = invoke
        self._items: deque[Item] = deque()
        self._filled = asyncio.Event()
        self._drained = asyncio.Event()
        self._is_stopped = False
        self._error_handlers: list[Handler] = []
        self.posted = 0
        """The number of items queued so far."""

    def __len__(self) -> int:
        return len(self._items)

    def post(self, item: Item) -> None:
        """Queue an item; never waits. The reader must call :meth:`room` before it continues."""
        if not self._is_stopped:
            self._items.append(item)
            self.posted += 1
            self._filled.set()

    @property
    def is_full(self) -> bool:
        return len(self._items) >= self._limit

    async def room(self) -> None:
        """Wait until the queue is below its limit."""
        while self.is_full and not self._is_stopped:
            self._drained.clear()
            await self._drained.wait()

    def stop(self) -> None:
        """Drop the queue; no further handler is called."""
        self._is_stopped = True
        self._items.clear()
        self._filled.set()
        self._drained.set()

    async def run(self) -> None:
        """Call handlers until :meth:`stop`."""
        while not self._is_stopped:
            if not self._items:
                self._filled.clear()
                await self._filled.wait()
                continue
            item = self._items.popleft()
            self._drained.set()
            await item()

    async def call(self, handler: Handler, *args: Any) -> None:
        """Call one handler; an exception is reported to the error handlers and not raised."""
        if self._is_stopped:
            return
        try:
            await self._invoke(handler, args)
        except Exception as cause:
            if is_interpreter_shutdown(cause):
                self.stop()
                return
            error = HandlerFailed(f"a handler raised {type(cause).__name__}: {cause}")
            error.__cause__ = cause
            logger.exception("A handler raised an exception; the stream goes on", extra={"action": "handler_failed"})
            await self._call_error_handlers(error)

    def add_error_handler(self, handler: Handler) -> None:
        self._error_handlers.append(handler)

    def remove_error_handler(self, handler: Handler) -> None:
        self._error_handlers.remove(handler)

    def report(self, error: Exception) -> None:
        """Queue an error for the error handlers."""
        if self._error_handlers:
            self.post(lambda: self._call_error_handlers(error))

    async def _call_error_handlers(self, error: Exception) -> None:
        for handler in list(self._error_handlers):
            if self._is_stopped:
                return
            try:
                await self._invoke(handler, (error,))
            except Exception:
                logger.exception(
                    "An error handler raised an exception; the stream goes on", extra={"action": "error_handler_failed"}
                )
