"""The process and the event loop in which the tasks of a client run; neither can be changed."""

from __future__ import annotations

import asyncio
import os

from .errors import ForkedClient, WrongEventLoop


class Home:
    """Where a client runs: nowhere before :meth:`enter`."""

    def __init__(self) -> None:
        self._pid: int | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop in which the client runs; ``None`` before it was started."""
        return self._loop

    @property
    def is_forked(self) -> bool:
        """Whether this process is a copy of the one in which the client runs."""
        return self._pid is not None and self._pid != os.getpid()

    def check_process(self) -> None:
        """Raise :exc:`ForkedClient` in a copy of the process."""
        if self.is_forked:
            raise ForkedClient()

    def enter(self) -> None:
        """Settle in the running event loop; raise :exc:`ForkedClient` or :exc:`WrongEventLoop` elsewhere."""
        self.check_process()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError as cause:
            raise WrongEventLoop(has_loop=False) from cause
        if self._loop is None:
            self._pid, self._loop = os.getpid(), loop
        elif self._loop is not loop:
            raise WrongEventLoop()

    def is_gone(self) -> bool:
        """Whether nothing of the client can run any more: its event loop is closed, or is that of another process."""
        return self.is_forked or (self._loop is not None and self._loop.is_closed())
