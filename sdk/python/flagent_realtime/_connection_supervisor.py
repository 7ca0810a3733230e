"""Keeps one connection: connects, watches for silence, reconnects with backoff, and gives up.

Tasks: the supervisor's own loop and, below it, one task per connection. :meth:`ConnectionSupervisor.close` ends both.
"""

from __future__ import annotations

import asyncio
import logging
from enum import Enum
from typing import Protocol

from ._backoff import Backoff, ReconnectConfig
from ._clock import Clock
from ._interpreter import is_interpreter_shutdown
from ._liveness import Liveness
from .errors import ConnectionLost, ConnectionRefused, FlagentError, ReconnectExhausted

logger = logging.getLogger("flagent_realtime")


class NextStep(Enum):
    """What a supervisor does after a connection."""

    FAIL = "fail"
    CONNECT = "connect"
    BACKOFF = "backoff"


class ConnectionListener(Protocol):
    """What a supervisor calls; underscored, because the listener is the public client."""

    @property
    def _feeds_store(self) -> bool:
        """Whether a store depends on the connection: then the default is to reconnect without limit."""

    async def _run_connection(self) -> None:
        """Open one connection and read it to its end. Raises ConnectionLost or ConnectionRefused."""

    def _tick(self, now: float) -> None:
        """Time has passed; called at least once per second while connected."""

    def _disconnected(self, error: FlagentError) -> None:
        """The connection ended, for any reason. Idempotent."""

    def _connection_lost(self, error: ConnectionLost) -> None:
        """The connection was lost and is not replaced on purpose; called before the wait for the next attempt."""

    def _client_failed(self, error: FlagentError) -> None:
        """The supervisor gave up; it does not connect again."""

    def _next_step(self, end: ConnectionLost | ConnectionRefused) -> NextStep:
        """What follows a connection that ended like this."""


class ConnectionSupervisor:
    """Runs the connections of one client, one at a time."""

    def __init__(self, config: ReconnectConfig, clock: Clock, listener: ConnectionListener) -> None:
        self.backoff = Backoff(config)
        self.liveness = Liveness()
        self.is_connected = False
        self.config = config
        self._clock = clock
        self._listener = listener
        self._is_closed = False
        self._is_paused = False
        self._end: ConnectionLost | None = None
        self._replaces = False
        self._loop_task: asyncio.Task[None] | None = None
        self._connection_task: asyncio.Task[None] | None = None
        self._watch_handle: asyncio.TimerHandle | None = None
        self.longest_watch_s = 1.0
        """The most seconds between two ticks of a connection."""

    # ------------------------------------------------------------ life cycle

    def start(self) -> None:
        """Connect in the background, also after :meth:`close`. Idempotent."""
        if self._loop_task is None or self._is_closed:
            self._is_closed = False
            self._loop_task = asyncio.create_task(self._run(), name="flagent-supervisor")

    async def close(self) -> None:
        """End the connection and the loop. Idempotent."""
        self._is_closed = True
        self._closed()
        task = self._loop_task
        if task is not None and task is not asyncio.current_task():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @property
    def is_paused(self) -> bool:
        """Whether the client does not read for now, because its handlers are busy."""
        return self._is_paused

    @property
    def is_running(self) -> bool:
        """Whether it connects, or is connected, or waits for the next attempt."""
        return self._loop_task is not None and not self._is_closed and not self._loop_task.done()

    @property
    def is_ending(self) -> bool:
        """Whether :meth:`drop` or :meth:`replace` ended the present connection."""
        return self._end is not None

    async def _run(self) -> None:
        while not self._is_closed:
            end = await self._connect()
            if self._replaces and isinstance(end, ConnectionLost):
                self._replaces = False
                continue
            step = self._listener._next_step(end)
            if step is NextStep.FAIL:
                self._listener._client_failed(end)
                return
            if isinstance(end, ConnectionRefused):
                refused, end = end, ConnectionLost(end.reason, status=end.status, close_code=end.close_code)
                end.__cause__ = refused.__cause__
            # The message contains the reason too: without configured logging it is the only visible part.
            logger.warning(
                "The connection is lost: %s", end.reason, extra={"action": "connection_lost", "reason": end.reason}
            )
            self._listener._connection_lost(end)
            if step is NextStep.CONNECT:
                continue
            now, random = self._clock.now(), self._clock.random()
            delay = self.backoff.lost(now, random, end.retry_after_ms, self._listener._feeds_store)
            if delay is None:
                error = ReconnectExhausted(self.config.max_attempts)
                error.__cause__ = end
                self._listener._client_failed(error)
                return
            await self._clock.sleep(delay)

    async def _connect(self) -> ConnectionLost | ConnectionRefused:
        """Run one connection; returns why it ended."""
        self._end = None
        self.backoff.connected()
        self._connection_task = asyncio.create_task(self._listener._run_connection(), name="flagent-connection")
        try:
            await self._connection_task
        except asyncio.CancelledError:
            if self._end is None or self._is_closed:
                raise
            return self._end
        except (ConnectionLost, ConnectionRefused) as end:
            return end
        except Exception as cause:
            if is_interpreter_shutdown(cause):
                raise asyncio.CancelledError from cause
            # An unexpected error may be permanent. Retrying within the configured attempts and reporting it is still
            # better than a client that stops for good.
            logger.exception("The connection failed unexpectedly", extra={"action": "connection_failed"})
            lost = ConnectionLost(f"unexpected error: {type(cause).__name__}; the traceback is in the log")
            lost.__cause__ = cause
            return lost
        finally:
            self._connection_task = None
            self._closed()
            self._listener._disconnected(ConnectionLost("the connection is lost"))
        return ConnectionLost("the stream has ended")

    # ------------------------------------------------- called by a connection

    def opened(self) -> None:
        """The transport is connected. Raises CancelledError when the connection is being ended."""
        self.check_cancelled()
        self.is_connected = True
        self.liveness.connected(self._clock.now())
        self.watch()

    def received(self, now: float) -> None:
        """A message of the stream arrived."""
        self.backoff.message(now)
        self.liveness.message(now)

    def check_cancelled(self) -> None:
        """Raise CancelledError when the connection is being ended but has not been cancelled yet.

        Before Python 3.12, ``asyncio.wait_for`` swallows a cancellation that coincides with its result.
        """
        if self._end is not None or self._is_closed:
            raise asyncio.CancelledError

    def pause(self) -> None:
        """The client does not read for now: silence does not count."""
        self._is_paused = True

    def resume(self) -> None:
        """The client reads again; silence counts from now."""
        self._is_paused = False
        self.liveness.message(self._clock.now())

    # ------------------------------------------------------------- decisions

    def drop(self, reason: str, kind: str = "lost") -> None:
        """End the present connection and reconnect after the backoff."""
        if self._connection_task is not None and self._end is None:
            self._end = ConnectionLost(reason, kind=kind)
            self._connection_task.cancel()

    def replace(self, reason: str) -> None:
        """End the present connection and open another one at once."""
        if self._connection_task is not None and self._end is None:
            self._replaces = True
            self.drop(reason)

    def watch(self) -> None:
        """Check for silence now, and again whenever it may have lasted too long."""
        self._stop_watching()
        now = self._clock.now()
        self._listener._tick(now)
        limit = self.liveness.silence_limit
        if self.liveness.is_silent(now) and not self._is_paused:
            self.drop(f"nothing was received for {limit:g} s", kind="silent")
            return
        pause = min(limit / 5, self.longest_watch_s)
        self._watch_handle = asyncio.get_running_loop().call_later(pause, self.watch)

    def _closed(self) -> None:
        self.is_connected = False
        self._stop_watching()

    def _stop_watching(self) -> None:
        if self._watch_handle is not None:
            self._watch_handle.cancel()
            self._watch_handle = None
