"""What both clients share: subscriptions, stores, the resume id, and the routing of messages.

A subclass brings the transport, which passes each message, in the WebSocket's form, to
:meth:`RealtimeClient._accept`.

Tasks: the supervisor's two, and the dispatcher's, which calls handlers. ``close`` ends all of them.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from abc import abstractmethod
from collections.abc import Callable, Mapping
from ssl import SSLContext
from types import TracebackType
from typing import Any, TypeVar

from ._backoff import ReconnectConfig
from ._clock import Clock, SystemClock
from ._connection_supervisor import ConnectionSupervisor, NextStep
from ._dispatcher import Dispatcher, Invoke, invoke_here
from ._event_id import Cursor, compare_event_ids
from ._exposure_feed import ExposureFeed
from ._home import Home
from ._selection import EVERYTHING, Selection, Weight, union
from ._store_driver import StoreDriver
from ._subscription_registry import SubscriptionRegistry
from ._transport import ApiKey, ConnectionRequest, Transport
from .errors import ClientClosed, ConnectionLost, ConnectionRefused, FlagentError, ForkedClient, MalformedMessage
from .events import FlagentEvent, decode_event

logger = logging.getLogger("flagent_realtime")

Handler = Callable[..., Any]
_Self = TypeVar("_Self", bound="RealtimeClient")


class RealtimeClient(SubscriptionRegistry):
    """The base of both clients; use one of its subclasses.

    - *api_key*: sent as the header ``X-API-Key``. A function, which may be asynchronous, is called for each connection,
      and once more when the server answers 401.
    - *reconnect_config*: when to reconnect and when to give up.
    - *last_event_id*: resume after this id, from ``last_event_id`` of an earlier client.
    - *queue_size*: messages that may wait for handlers, at least 1; at this number the client stops reading the socket.
    - *max_message_bytes*: a larger message ends the connection (event stream: counted in characters).
    - *connect_timeout*: in seconds, for each attempt to connect.
    - *ssl_context*: for ``https`` and ``wss``; ``None`` verifies against the system's certificates.
    - *start*: whether ``async with`` connects; otherwise :meth:`start` does.
    - *clock*, *invoke*: for tests and for the synchronous clients.
    """

    def __init__(
        self,
        url: str,
        api_key: ApiKey = None,
        reconnect_config: ReconnectConfig | None = None,
        *,
        last_event_id: str | None = None,
        queue_size: int = 1000,
        max_message_bytes: int = 64 * 1024 * 1024,
        connect_timeout: float = 10.0,
        ssl_context: SSLContext | None = None,
        start: bool = True,
        clock: Clock | None = None,
        invoke: Invoke = invoke_here,
    ) -> None:
        if queue_size < 1:
            raise ValueError(f"queue_size is {queue_size}; it must be 1 or more")
        super().__init__(Dispatcher(queue_size, invoke))
        self.url = url
        self._api_key = api_key
        self._max_message_bytes = max_message_bytes
        self._connect_timeout = connect_timeout
        self._ssl_context = ssl_context
        self._starts_on_entry = start
        self._clock: Clock = clock if clock is not None else SystemClock()
        config = reconnect_config if reconnect_config is not None else ReconnectConfig()
        self._supervisor = ConnectionSupervisor(config, self._clock, self)
        self._home = Home()
        self._dispatch_task: asyncio.Task[None] | None = None
        self._cursor = Cursor(last_event_id)
        self._stores: list[StoreDriver] = []
        self._weight = Weight()
        self._is_selection_due = False
        self._request = ConnectionRequest(Selection(), None, False)
        self._awaits_snapshot = False
        self._awaiting_stores: list[StoreDriver] = []
        """The stores that the connection's own first snapshot is for."""
        self._is_greeted = False
        self._has_begun = False
        self._last_greeting: Mapping[str, Any] = {"type": "connected"}
        self._failure: FlagentError | None = None
        self._exposures = ExposureFeed(self)
        self._early_errors: list[FlagentError] = []
        self._fetched_keys: list[str | None] = []
        """A key that was fetched to find saved flags, for the connection that follows."""
        self._transport = self._make_transport()
        self._last_connection_error: FlagentError | None = None

    # ------------------------------------------------------------ life cycle

    async def __aenter__(self: _Self) -> _Self:
        if self._starts_on_entry:
            await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Connect in the background; returns at once. Idempotent.

        The client belongs to the event loop and the process in which it is started: elsewhere, calls that wait raise
        :exc:`WrongEventLoop` or :exc:`ForkedClient`. Raises :exc:`ClientClosed`.
        """
        self._check_open()
        self._home.enter()
        if self._dispatch_task is None:
            self._dispatch_task = asyncio.create_task(self._dispatcher.run(), name="flagent-dispatcher")
            early, self._early_errors = self._early_errors, []
            for error in early:
                self._dispatcher.report(error)
        if self._failure is None:
            self._supervisor.start()

    async def offline(self) -> None:
        """End the connection, and make none until :meth:`start`. Idempotent.

        The stores stay readable and are STALE; what is not saved yet is saved.
        """
        self._check_open()
        self._home.enter()
        await self._supervisor.close()
        self._disconnected(ConnectionLost("the client is offline"))
        await self._release()
        await asyncio.gather(*(store.saver.flush() for store in self._stores if store.saver is not None))

    async def close(self) -> None:
        """Close the connection and the stores, and end all tasks. Idempotent; may be called from a handler.

        No handler is called after it has returned.
        """
        is_gone = self._home.is_gone()
        if not is_gone:
            self._home.enter()
        self._is_closed = True
        self._dispatcher.stop()
        savers = [store.saver for store in self._stores if store.saver is not None]
        for store in self._stores:
            store.close()
        if is_gone:
            # The tasks ended with their event loop, or are those of the other process.
            return
        await asyncio.gather(*(saver.flush() for saver in savers))
        self._disconnected(ClientClosed())
        await self._supervisor.close()
        task = self._dispatch_task
        if task is not None and task is not asyncio.current_task():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self._release()

    @property
    def is_connected(self) -> bool:
        """Whether a connection is open now."""
        return self._supervisor.is_connected and not self._home.is_gone()

    @property
    def is_offline(self) -> bool:
        """Whether the client makes no connection, because it is not started, or after :meth:`offline`."""
        return not self._supervisor.is_running and self._failure is None and not self._is_closed

    @property
    def failure(self) -> FlagentError | None:
        """The fatal error that ended the client; ``None`` while it works."""
        return ForkedClient() if self._home.is_forked else self._failure

    def _check_open(self) -> None:
        if self._is_closed:
            raise ClientClosed()
        self._home.check_process()

    @property
    def last_event_id(self) -> str | None:
        """The event id up to which everything was received; a new client can resume from it."""
        return self._cursor.id

    @property
    def queued_messages(self) -> int:
        """The number of messages that wait for handlers; at ``queue_size`` the client stops reading the socket."""
        return len(self._dispatcher)

    def on_exposure(self, handler: Handler) -> Callable[[], None]:
        """Call *handler* with each :class:`Exposure` of this client's stores. Returns a function that removes it."""
        self._exposures.handlers.append(handler)
        return lambda: self._exposures.handlers.remove(handler)

    # ---------------------------------------------------------------- stores

    def _attach(self, store: StoreDriver) -> None:
        """Feed a store from now on. Raises ClientClosed."""
        self._check_open()
        self._check_selection(store.selection)
        self._stores.append(store)
        if self.failure is not None:
            store.client_failed()
        elif self._is_greeted:
            self._apply_selection()
            if self._is_greeted and not self._supervisor.is_ending:
                store.receive(self._last_greeting, self._clock.now(), resumed=False)
                self._request_snapshot(store)
        else:
            self._selection_changed()

    def _detach(self, store: StoreDriver) -> None:
        if store in self._stores:
            self._stores.remove(store)
            self._deselect(store.selection)

    def _selection(self) -> Selection:
        """What the subscriptions and stores select together."""
        parts = self._selections()
        if not parts and self._subscriptions:
            return EVERYTHING
        return union(parts)

    def _selections(self) -> list[Selection]:
        selections = [subscription.selection for subscription in self._subscriptions]
        parts = [selection for selection in selections if selection is not None]
        return parts + [store.selection for store in self._stores]

    def _check_selection(self, added: Selection) -> None:
        added.check_values()
        weight = self._weight.plus(added.weight)
        if not self._transport.limits.allow(weight):
            # Equal selectors of several subscriptions count once, but comparing them takes time.
            exact = union([*self._selections(), added]).weight
            if not self._transport.limits.allow(exact):
                raise self._transport.limits.refusal(exact)
        self._weight = weight

    def _deselect(self, selection: Selection | None) -> None:
        if selection is not None:
            self._weight = self._weight.minus(selection.weight)
        self._selection_changed()

    def _selection_changed(self) -> None:
        """Apply the selection once for everything that is subscribed in this turn of the event loop."""
        if self._supervisor.is_connected and not self._is_selection_due:
            self._is_selection_due = True
            asyncio.get_running_loop().call_soon(self._apply_due_selection)

    def _apply_due_selection(self) -> None:
        self._is_selection_due = False
        self._apply_selection()

    # --------------------------------------------------------- the transport

    @abstractmethod
    def _make_transport(self) -> Transport:
        """The transport that the client begins with."""

    async def _run_connection(self) -> None:
        await self._load_saved()
        await self._transport.run()

    async def _load_saved(self) -> None:
        """Read what was saved under the credential of the first connection, or asynchronously."""
        loads = [load for store in self._stores if (load := store.load) is not None]
        if loads:
            credential = await self._key()
            self._fetched_keys.append(credential)
            for load in loads:
                await load(credential)

    def _apply_selection(self) -> None:
        self._transport.apply_selection()

    def _request_snapshot(self, store: StoreDriver) -> None:
        self._transport.request_snapshot(store)

    async def _release(self) -> None:
        """Release what the transport keeps between connections."""
        await self._transport.release()

    def _heard(self) -> None:
        """Bytes arrived."""

    async def _key(self) -> str | None:
        if self._fetched_keys:
            return self._fetched_keys.pop()
        key = self._api_key() if callable(self._api_key) else self._api_key
        if inspect.isawaitable(key):
            return str(await key)
        return key

    def _new_request(self) -> ConnectionRequest:
        """Decide what to request from the server now."""
        self._begin_from_stores()
        awaiting = [store for store in self._stores if store.awaits_snapshot]
        only_stores_wait = bool(awaiting) and len(awaiting) == len(self._stores) and not self._subscriptions
        if self._cursor.id is None or only_stores_wait:
            self._request = ConnectionRequest(self._selection(), None, bool(awaiting))
        else:
            self._request = ConnectionRequest(self._selection(), self._cursor.id, False)
        self._awaits_snapshot = self._request.snapshot
        self._awaiting_stores = awaiting if self._request.snapshot else []
        return self._request

    def _begin_from_stores(self) -> None:
        """Before the first connection: resume from the lowest id of stores that begin with saved flags."""
        if self._has_begun:
            return
        self._has_begun = True
        ids = [store.core.last_event_id for store in self._stores]
        known = [each for each in ids if each is not None]
        if not known or len(known) < len(ids):
            return
        lowest = known[0]
        for other in known[1:] + ([] if self._cursor.id is None else [self._cursor.id]):
            order = compare_event_ids(other, lowest)
            if order is None:
                return
            lowest = other if order < 0 else lowest
        self._cursor.replace(lowest)

    # ------------------------------------------- what the supervisor reports

    def _opened(self) -> None:
        """The transport is connected."""
        self._supervisor.opened()
        self._transport.opened()

    def _next_step(self, end: ConnectionLost | ConnectionRefused) -> NextStep:
        return NextStep.FAIL if isinstance(end, ConnectionRefused) else NextStep.BACKOFF

    @property
    def _feeds_store(self) -> bool:
        return bool(self._stores)

    def _tick(self, now: float) -> None:
        for store in self._stores:
            store.tick(now)

    def _disconnected(self, error: FlagentError) -> None:
        """The connection ended, for any reason. Idempotent."""
        self._is_greeted = False
        for store in self._stores:
            store.connection_lost()
        self._transport.disconnected(error, self._is_closed or self.failure is not None)

    def _connection_lost(self, error: ConnectionLost) -> None:
        self._last_connection_error = error
        self._dispatcher.report(error)

    def _client_failed(self, error: FlagentError) -> None:
        logger.error("The client failed for good: %s", error, extra={"action": "client_failed", "reason": str(error)})
        self._failure = error
        for store in self._stores:
            store.client_failed()
        self._dispatcher.report(error)
        self._disconnected(error)

    # -------------------------------------------------------------- messages

    async def _accept(self, message: Mapping[str, Any]) -> None:
        """Process one message. Waits while the handlers' queue is full, so that the socket is not read."""
        self._supervisor.check_cancelled()
        now = self._clock.now()
        self._supervisor.received(now)
        self._route(message, now)
        if self._dispatcher.is_full:
            self._supervisor.pause()
            try:
                await self._dispatcher.room()
            finally:
                self._supervisor.resume()

    def _route(self, message: Mapping[str, Any], now: float) -> None:
        kind, event_id = message.get("type"), message.get("id")
        if kind in ("connected", "subscribed"):
            self._greeted(message, now)
        elif kind == "heartbeat":
            self._supervisor.liveness.heartbeat(now)
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
                self._cursor.replace(event_id)
            self._post([message], is_reported)
        elif kind == "batch" and isinstance(message.get("events"), list):
            events = [event for event in message["events"] if self._is_new(event)]
            is_reported = self._feed_stores({**message, "events": events}, now)
            for event in events:
                self._advance(event.get("id") if isinstance(event, dict) else None)
            self._post(events, is_reported)
            self._advance(event_id)
        elif not isinstance(kind, str):
            self._report(MalformedMessage("a message has no type"))
        elif self._is_new(message):
            is_reported = self._feed_stores(message, now)
            if not is_reported:
                self._advance(event_id)
            self._post([message], is_reported)

    def _is_new(self, message: object) -> bool:
        event_id = message.get("id") if isinstance(message, dict) else None
        return not isinstance(event_id, str) or not self._cursor.covers(event_id)

    def _advance(self, event_id: object) -> None:
        """Move the resume id. While a snapshot is awaited, only the snapshot sets it."""
        if isinstance(event_id, str) and not self._awaits_snapshot:
            self._cursor.advance(event_id)

    def _greeted(self, message: Mapping[str, Any], now: float) -> None:
        if self._is_greeted:
            return
        self._is_greeted = True
        self._last_connection_error = None
        self._last_greeting = message
        self._supervisor.liveness.announced(message.get("heartbeatMs"))
        self._supervisor.watch()
        resumed = self._request.last_event_id is not None
        if not resumed and not self._request.snapshot:
            self._advance(message.get("id"))
        for store in list(self._stores):
            store.receive(message, now, resumed=resumed)
            if store.awaits_snapshot and store not in self._awaiting_stores:
                self._request_snapshot(store)

    def _snapshot(self, message: Mapping[str, Any], now: float) -> None:
        if self._awaits_snapshot:
            self._awaits_snapshot = False
            self._advance(message.get("id"))
        for store in self._snapshot_receivers(message):
            error = self._feed(store, message, now)
            if error is not None:
                self._supervisor.drop(f"a snapshot cannot be decoded: {error}")

    def _snapshot_receivers(self, message: Mapping[str, Any]) -> list[StoreDriver]:
        """The stores that a snapshot of the stream is for."""
        is_requested, store = self._transport.snapshot_receiver(message)
        if is_requested:
            return [store] if store in self._stores else []
        receivers, self._awaiting_stores = self._awaiting_stores, []
        return [store for store in receivers if store in self._stores]

    def _feed_stores(self, message: Mapping[str, Any], now: float) -> bool:
        """Pass a message to every store. Returns whether it was malformed, in which case it is reported."""
        errors = [self._feed(store, message, now) for store in list(self._stores)]
        error = next((each for each in errors if each is not None), None)
        if error is not None:
            self._report(error)
        return error is not None

    def _feed(self, store: StoreDriver, message: Mapping[str, Any], now: float) -> MalformedMessage | None:
        update = store.receive(message, now)
        if update.requests_snapshot:
            logger.warning(
                "A store differs from the server; it requests a snapshot", extra={"action": "snapshot_requested"}
            )
            self._request_snapshot(store)
        return update.error

    @property
    def _static_key(self) -> str | None:
        """The API key that is not a function."""
        return None if callable(self._api_key) else self._api_key

    def _report_error(self, error: FlagentError) -> None:
        """Report an error to the handlers, also to those that are registered until the client starts."""
        if self._dispatch_task is None:
            self._early_errors.append(error)
        else:
            self._dispatcher.report(error)

    def _report(self, error: MalformedMessage) -> None:
        logger.warning("A message was skipped: %s", error, extra={"action": "message_skipped", "reason": str(error)})
        self._dispatcher.report(error)

    def _post(self, messages: list[Any], is_reported: bool) -> None:
        """Queue the events of one message for the handlers."""
        if not self._subscriptions:
            return
        events: list[FlagentEvent] = []
        for message in messages:
            try:
                if not isinstance(message, dict):
                    raise MalformedMessage("an event is not an object")
                events.append(decode_event(message))
            except MalformedMessage as error:
                if not is_reported:
                    self._report(error)
                    is_reported = True
        if events:
            number = self._dispatcher.posted
            self._dispatcher.post(lambda: self._deliver(events, number))

    async def _deliver(self, events: list[FlagentEvent], number: int) -> None:
        distinct = {subscription.selection for subscription in self._subscriptions} - {None}
        # A selection that is sent in parts is wider for a moment.
        is_only = len(distinct) == 1 and not self._stores and not any(each and each.is_divided for each in distinct)
        for subscription in list(self._subscriptions):
            if subscription.is_active and subscription.since <= number:
                await subscription._deliver(self._dispatcher, events, is_only)
