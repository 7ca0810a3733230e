"""What both clients share: one supervised connection, its resume id, its subscriptions, its stores.

A subclass brings a transport: :meth:`RealtimeClient._session` makes one connection and gives each message to
:meth:`RealtimeClient._accept`, in the WebSocket's form. It ends by raising :exc:`ConnectionLost` or :exc:`Refused`.

Tasks: the runner (connect, read, wait, again), one session task below it, and the dispatcher, which calls handlers.
``close`` ends all three; nothing outlives it.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from ssl import SSLContext
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, Union

from ._backoff import Backoff, ReconnectConfig
from ._clock import Clock, SystemClock
from ._dispatcher import Dispatcher, Invoke, invoke_here
from ._event_id import is_seen
from ._liveness import Liveness
from ._selection import EVERYTHING, Selection, unite
from ._subscription_registry import Subscribing
from .errors import ClientClosed, ConnectionLost, FlagentError, ProtocolError, ReconnectExhausted, Refused
from .events import Event, EventType, decode_event
from .flags import Flag

if TYPE_CHECKING:
    from .store import FlagStore

logger = logging.getLogger("flagent_realtime")

ApiKey = Union[str, Callable[[], Union[str, Awaitable[str]]], None]
Handler = Callable[..., Any]
_Self = TypeVar("_Self", bound="RealtimeClient")


@dataclass(frozen=True)
class Plan:
    """What to ask for on a new connection. ``last_event_id`` and ``snapshot`` exclude each other."""

    selection: Selection
    last_event_id: str | None
    snapshot: bool


class RealtimeClient(Subscribing):
    """The base of the clients; make one of its subclasses."""

    def __init__(
        self,
        url: str,
        api_key: ApiKey = None,
        reconnect: ReconnectConfig | None = None,
        *,
        last_event_id: str | None = None,
        queue_size: int = 1000,
        max_message_bytes: int = 64 * 1024 * 1024,
        connect_timeout: float = 10.0,
        ssl_context: SSLContext | None = None,
        clock: Clock | None = None,
        invoke: Invoke = invoke_here,
    ) -> None:
        if queue_size < 1:
            raise ValueError(f"queue_size must be 1 or more, not {queue_size}")
        super().__init__(Dispatcher(queue_size, invoke))
        self.url = url
        self._api_key = api_key
        self._config = reconnect if reconnect is not None else ReconnectConfig()
        self._max_message_bytes = max_message_bytes
        self._connect_timeout = connect_timeout
        self._ssl_context = ssl_context
        self._clock: Clock = clock if clock is not None else SystemClock()
        self._backoff = Backoff(self._config)
        self._liveness = Liveness()
        self._cursor = last_event_id
        self._stores: list[FlagStore] = []
        self._plan = Plan(Selection(), None, False)
        self._awaits_snapshot = False
        self._is_greeted = False
        self._last_greeting: Mapping[str, Any] = {"type": "connected"}
        self._primary_stores: list[FlagStore] = []
        self._is_paused = False
        self._is_connected = asyncio.Event()
        self._runner: asyncio.Task[None] | None = None
        self._session_task: asyncio.Task[None] | None = None
        self._session_end: ConnectionLost | None = None
        self._restarts = False
        self._dispatch_task: asyncio.Task[None] | None = None
        self._watch_handle: asyncio.TimerHandle | None = None
        self.failure: FlagentError | None = None
        """Why the client has given up for good; ``None`` while it has not."""
        self._trouble: FlagentError | None = None

    # ------------------------------------------------------------ life cycle

    async def __aenter__(self: _Self) -> _Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Begin connecting in the background; returns at once. Idempotent."""
        if self._is_closed:
            raise ClientClosed("the client is closed")
        if self._runner is None:
            self._dispatch_task = asyncio.create_task(self._dispatcher.run(), name="flagent-dispatcher")
            self._runner = asyncio.create_task(self._run(), name="flagent-runner")

    async def close(self) -> None:
        """End everything. Idempotent; may be called from a handler. After it, no handler is called."""
        self._is_closed = True
        self._dispatcher.stop()
        for store in self._stores:
            store._closed()
        self._disconnected(ClientClosed("the client was closed"))
        here = asyncio.current_task()
        tasks = [task for task in (self._runner, self._dispatch_task) if task is not None and task is not here]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._release()

    @property
    def is_connected(self) -> bool:
        """Whether a connection is up at this moment."""
        return self._is_connected.is_set()

    @property
    def last_event_id(self) -> str | None:
        """The id up to which everything was received; a new client can resume from it."""
        return self._cursor

    @property
    def queued(self) -> int:
        """How many messages wait for handlers; at ``queue_size`` the client stops reading."""
        return len(self._dispatcher)

    # ---------------------------------------------------------------- stores

    def _attach(self, store: FlagStore) -> None:
        if self._is_closed:
            raise ClientClosed("the client is closed")
        self._stores.append(store)
        if self.failure is not None:
            store._failed()
        elif self._is_greeted:
            self._selection_changed()
            if self._is_greeted and self._session_end is None:
                store._receive(self._last_greeting, self._clock.now(), resumed=False)
                self._request_snapshot(store)
        else:
            self._selection_changed()

    def _detach(self, store: FlagStore) -> None:
        if store in self._stores:
            self._stores.remove(store)
            self._selection_changed()

    def _selection(self) -> Selection:
        selections = [subscription.selection for subscription in self._subscriptions]
        parts = [selection for selection in selections if selection is not None]
        parts += [store.selection for store in self._stores]
        if not parts and selections:
            return EVERYTHING
        return unite(parts)

    # --------------------------------------------------------- the transport

    @abstractmethod
    async def _session(self, plan: Plan) -> None:
        """Make one connection and read it to its end."""

    @abstractmethod
    def _request_snapshot(self, store: FlagStore) -> None:
        """Bring a snapshot to a store beside the stream."""

    async def _release(self) -> None:
        """Let go of what the transport keeps between connections."""

    async def _key(self) -> str | None:
        key = self._api_key() if callable(self._api_key) else self._api_key
        if inspect.isawaitable(key):
            return str(await key)
        return key

    # ------------------------------------------------------------ the runner

    async def _run(self) -> None:
        while not self._is_closed:
            lost = await self._connect()
            if isinstance(lost, Refused):
                self._fail(lost)
                return
            if self._restarts:
                self._restarts = False
                continue
            # The reason stands in the sentence too: without a configured logging that is all there is to see.
            logger.warning(
                "The connection is lost: %s", lost.reason, extra={"action": "connection_lost", "reason": lost.reason}
            )
            self._trouble = lost
            self._dispatcher.report(lost)
            delay = self._backoff.lost(self._clock.now(), self._clock.random(), lost.retry_after_ms)
            if delay is None:
                error = ReconnectExhausted(self._config.max_attempts)
                error.__cause__ = lost
                self._fail(error)
                return
            await self._clock.sleep(delay)

    async def _connect(self) -> ConnectionLost | Refused:
        """One connection from begin to end; returns why it ended."""
        self._make_plan()
        self._is_greeted = False
        self._session_end = None
        self._backoff.connected()
        self._session_task = asyncio.create_task(self._session(self._plan), name="flagent-session")
        try:
            await self._session_task
        except asyncio.CancelledError:
            if self._session_end is None or self._is_closed:
                raise
            return self._session_end
        except (ConnectionLost, Refused) as end:
            return end
        except Exception as cause:
            # Not foreseen, so perhaps not curable; but a client that stops for good would be worse than one that
            # keeps trying within its attempts and says why.
            logger.exception("The session failed", extra={"action": "session_failed"})
            lost = ConnectionLost(f"the session failed: {type(cause).__name__}")
            lost.__cause__ = cause
            return lost
        finally:
            self._session_task = None
            self._disconnected(ConnectionLost("the connection is lost"))
            for store in self._stores:
                store._lost()
        return ConnectionLost("the stream has ended")

    def _make_plan(self) -> None:
        """Decide what to ask of the server now."""
        selection = self._selection()
        awaiting = [store for store in self._stores if store._awaits_snapshot]
        has_events = bool(self._subscriptions)
        if self._cursor is None or (awaiting and len(awaiting) == len(self._stores) and not has_events):
            self._plan = Plan(selection, None, bool(awaiting))
        else:
            self._plan = Plan(selection, self._cursor, False)
        self._awaits_snapshot = self._plan.snapshot
        self._primary_stores = awaiting if self._plan.snapshot else []

    def _drop(self, reason: str) -> None:
        """End the present connection and make another."""
        if self._session_task is not None and self._session_end is None:
            self._session_end = ConnectionLost(reason)
            self._session_task.cancel()

    def _restart(self) -> None:
        """Make the connection anew at once, because what it asked for has changed."""
        if self._session_task is not None and self._session_end is None:
            self._restarts = True
            self._drop("the selection has changed")

    def _fail(self, error: FlagentError) -> None:
        logger.error("The client has given up: %s", error, extra={"action": "client_failed", "reason": str(error)})
        self.failure = error
        for store in self._stores:
            store._failed()
        self._dispatcher.report(error)
        self._disconnected(error)

    def _opened(self) -> None:
        """The transport is up."""
        self._check_cancelled()
        self._is_connected.set()
        self._liveness.connected(self._clock.now())
        self._rewatch()

    def _check_cancelled(self) -> None:
        """End a session that was told to end but did not hear it.

        Before Python 3.12, ``asyncio.wait_for`` swallows a cancellation that comes together with its result.
        """
        if self._session_end is not None or self._is_closed:
            raise asyncio.CancelledError

    def _disconnected(self, error: FlagentError) -> None:
        """The transport is down, for whatever reason. Idempotent; extended by transports with requests."""
        self._is_connected.clear()
        self._is_greeted = False
        if self._watch_handle is not None:
            self._watch_handle.cancel()
            self._watch_handle = None

    def _rewatch(self) -> None:
        if self._watch_handle is not None:
            self._watch_handle.cancel()
        self._watch()

    def _watch(self) -> None:
        """Look after silence, at moments when it could have lasted too long."""
        now = self._clock.now()
        for store in self._stores:
            store._tick(now)
        if self._liveness.is_silent(now) and not self._is_paused:
            self._drop(f"nothing was received for {self._liveness.limit:g} s")
            return
        self._watch_handle = asyncio.get_running_loop().call_later(min(self._liveness.limit / 5, 1.0), self._watch)

    # -------------------------------------------------------------- messages

    async def _accept(self, message: Mapping[str, Any]) -> None:
        """Take one message. While the queue of the handlers is full, this waits, and so the socket is not read."""
        self._check_cancelled()
        now = self._clock.now()
        self._backoff.message(now)
        self._liveness.message(now)
        self._take(message, now)
        if self._dispatcher.is_full:
            self._is_paused = True
            try:
                await self._dispatcher.room()
            finally:
                self._is_paused = False
                self._liveness.message(self._clock.now())

    def _take(self, message: Mapping[str, Any], now: float) -> None:
        kind, event_id = message.get("type"), message.get("id")
        if kind in ("connected", "subscribed"):
            self._greeted(message, now)
        elif kind == "heartbeat":
            self._liveness.heartbeat(now)
            self._feed_stores(message, now)
            self._advance(event_id)
        elif kind == "snapshot":
            self._snapshot(message, now)
        elif kind in ("position", "caught_up"):
            self._feed_stores(message, now)
            self._advance(event_id)
        elif kind == "resync":
            self._awaits_snapshot = False
            is_reported = self._feed_stores(message, now)
            if isinstance(event_id, str) and isinstance(message.get("snapshot"), dict):
                self._cursor = event_id
            self._post([message], is_reported)
        elif kind == "batch" and isinstance(message.get("events"), list):
            events = [event for event in message["events"] if self._is_new(event)]
            is_reported = self._feed_stores({**message, "events": events}, now)
            for event in events:
                self._advance(event.get("id") if isinstance(event, dict) else None)
            self._post(events, is_reported)
            self._advance(event_id)
        elif not isinstance(kind, str):
            self._report(ProtocolError("a message has no type"))
        elif self._is_new(message):
            is_reported = self._feed_stores(message, now)
            if not is_reported:
                self._advance(event_id)
            self._post([message], is_reported)

    def _is_new(self, message: object) -> bool:
        event_id = message.get("id") if isinstance(message, dict) else None
        return not isinstance(event_id, str) or not is_seen(event_id, self._cursor)

    def _advance(self, event_id: object) -> None:
        """Move the resume id; while a snapshot is awaited, only that may set it."""
        if isinstance(event_id, str) and not self._awaits_snapshot and not is_seen(event_id, self._cursor):
            self._cursor = event_id

    def _greeted(self, message: Mapping[str, Any], now: float) -> None:
        if self._is_greeted:
            return
        self._is_greeted = True
        self._trouble = None
        self._last_greeting = message
        self._liveness.announced(message.get("heartbeatMs"))
        self._rewatch()
        resumed = self._plan.last_event_id is not None
        if not resumed and not self._plan.snapshot:
            self._advance(message.get("id"))
        for store in list(self._stores):
            store._receive(message, now, resumed=resumed)
            if store._awaits_snapshot and store not in self._primary_stores:
                self._request_snapshot(store)

    def _snapshot(self, message: Mapping[str, Any], now: float) -> None:
        if self._awaits_snapshot:
            self._awaits_snapshot = False
            self._advance(message.get("id"))
        for store in self._snapshot_receivers(message):
            problem = self._feed(store, message, now)
            if problem is not None:
                self._drop(f"a snapshot cannot be used: {problem}")

    def _snapshot_receivers(self, message: Mapping[str, Any]) -> list[FlagStore]:
        """The stores that a snapshot of the stream is for."""
        receivers, self._primary_stores = self._primary_stores, []
        return [store for store in receivers if store in self._stores]

    def _feed_stores(self, message: Mapping[str, Any], now: float) -> bool:
        """Give a message to every store; whether it was found malformed and reported."""
        problems = [self._feed(store, message, now) for store in list(self._stores)]
        problem = next((each for each in problems if each is not None), None)
        if problem is not None:
            self._report(problem)
        return problem is not None

    def _feed(self, store: FlagStore, message: Mapping[str, Any], now: float) -> ProtocolError | None:
        outcome = store._receive(message, now)
        if outcome.request_snapshot:
            logger.warning("A store differs from the server and asks for a snapshot", extra={"action": "store_heals"})
            self._request_snapshot(store)
        return outcome.error

    def _report(self, error: FlagentError) -> None:
        logger.warning("A message was skipped: %s", error, extra={"action": "message_skipped", "reason": str(error)})
        self._dispatcher.report(error)

    def _post(self, messages: list[Any], is_reported: bool) -> None:
        """Queue the events of one message for the handlers."""
        if not self._subscriptions:
            return
        events: list[Event] = []
        for message in messages:
            try:
                if not isinstance(message, dict):
                    raise ProtocolError("an event is not an object")
                events.append(_resync_event(message) if message.get("type") == "resync" else decode_event(message))
            except ProtocolError as error:
                if not is_reported:
                    self._report(error)
                    is_reported = True
        if events:
            number = self._dispatcher.posted
            self._dispatcher.post(lambda: self._deliver(events, number))

    async def _deliver(self, events: list[Event], number: int) -> None:
        distinct = {subscription.selection for subscription in self._subscriptions} - {None}
        is_only = len(distinct) == 1 and not self._stores
        for subscription in list(self._subscriptions):
            if subscription.is_active and subscription.since <= number:
                await subscription._deliver(self._dispatcher, events, is_only)


def _resync_event(message: Mapping[str, Any]) -> Event:
    snapshot = message.get("snapshot")
    flags = snapshot.get("flags") if isinstance(snapshot, dict) else None
    if not isinstance(flags, list):
        raise ProtocolError("a resync carries no flags")
    return Event(
        type=EventType.RESYNC,
        type_name="resync",
        id=message.get("id") if isinstance(message.get("id"), str) else None,
        flag_key=None,
        flag_id=None,
        schema=None,
        committed_at=None,
        data=tuple(Flag.from_json(flag) for flag in flags if isinstance(flag, dict)),
        raw=message,
    )
