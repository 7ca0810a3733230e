"""The same clients and store without asyncio: the event loop runs in a background thread.

    with FlagentWebSocketClient("ws://host/ws") as client:
        store = FlagStore(client)
        store.ready(timeout=5)
        store.get("new_payment_flow").enabled

Handlers are called in a second thread, one at a time and in order. A handler may block: the socket is read until the
queue is full. ``close`` ends both threads; it may be called from a handler.

Arguments, results and errors are those of the asynchronous classes. Methods that register a handler return a function
that removes it.

After a fork (gunicorn ``--preload``, Celery, multiprocessing) a client works in the child too: with threads, a
connection and a snapshot of its own, and with the same stores and handlers. Until the snapshot has arrived, a store has
the flags of the parent, and is STALE.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from types import TracebackType
from typing import Any, Generic, TypeVar
from weakref import WeakSet

from . import client as any_client
from . import exposures, sse, store, websocket
from ._client import RealtimeClient
from ._evaluation import EvaluationResult
from ._values import ContextValue
from .errors import ClientClosed, FlagentError, ForkedClient
from .events import EventType
from .flags import Flag
from .persistence import Persistence
from .store import StoreSource, StoreStatus
from .subscriptions import Subscription

__all__ = ["ExposureReporter", "FlagStore", "FlagentClient", "FlagentSSEClient", "FlagentWebSocketClient"]

logger = logging.getLogger("flagent_realtime")

_C = TypeVar("_C", bound=RealtimeClient)
_T = TypeVar("_T")
_Self = TypeVar("_Self", bound="_Client[Any]")
Handler = Callable[..., Any]


_clients: WeakSet[_Client[Any]] = WeakSet()
_left_behind: list[object] = []
"""In a forked process: what belongs to the parent. It must not be collected, which would write to its sockets."""


def _restart_in_child() -> None:
    clients = list(_clients)
    for client in clients:
        client._leave_behind()
    for client in clients:
        try:
            client._restart()
        except Exception:
            # The fork must go on. The client is not restarted: its calls raise, and its stores are in ERROR.
            logger.exception("A client could not be restarted after a fork", extra={"action": "fork_failed"})


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restart_in_child)


class _Registration:
    """A handler, and how to register it with the client that runs in this process."""

    def __init__(self, register: Callable[[], Callable[[], None]]) -> None:
        self.register = register
        self.end: Callable[[], None] = register()


class _Client(Generic[_C]):
    """A client whose event loop runs in a thread. All methods may be called from any thread."""

    _make: type[_C]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._arguments = (args, kwargs)
        self._is_closed = False
        self._is_started = False
        self._starts_on_entry = bool(kwargs.get("start", True))
        self._registrations: list[_Registration] = []
        self._stores: WeakSet[FlagStore] = WeakSet()
        self._begin()
        _clients.add(self)

    def _begin(self) -> None:
        """Start the threads of this process, and make the client in them."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="flagent-loop", daemon=True)
        self._handlers = ThreadPoolExecutor(1, thread_name_prefix="flagent-handlers")
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._pid = os.getpid()
        self._thread.start()
        try:
            self._client: _C = self._run(self._construct(*self._arguments))
        except BaseException:
            self._stop()
            raise

    async def _construct(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _C:
        client = self._make(*args, invoke=self._invoke, **kwargs)
        client._home.enter()
        return client

    # ------------------------------------------------------------ after a fork

    def _leave_behind(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            # It is not pending in this process; asyncio would complain about it.
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        _left_behind.append((self._loop, self._thread, self._handlers, self._client))

    def _restart(self) -> None:
        """Go on in the child of a fork, as far as the client went in the parent."""
        if self._is_closed:
            return
        self._begin()
        for each in list(self._stores):
            each._restart()
        for registration in self._registrations:
            registration.end = registration.register()
        if self._is_started:
            self.start()

    def _register(self, register: Callable[[], Callable[[], None]]) -> Callable[[], None]:
        """Register a handler; returns the function that removes it, in whichever process."""
        registration = _Registration(register)
        self._registrations.append(registration)

        def remove() -> None:
            if registration in self._registrations:
                self._registrations.remove(registration)
            self._call(registration.end)

        return remove

    async def _invoke(self, handler: Handler, args: tuple[Any, ...]) -> None:
        result = await self._loop.run_in_executor(self._handlers, handler, *args)
        if inspect.isawaitable(result):
            await result

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine in the loop's thread and wait for its result."""
        if self._pid != os.getpid():
            work.close()
            raise ForkedClient()
        if self._is_closed:
            work.close()
            raise ClientClosed()
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError(
                "a synchronous method was called in the thread of the client's event loop, which it would block; "
                "call it from a handler or from another thread"
            )
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _call(self, function: Callable[..., _T], *args: Any, **kwargs: Any) -> _T:
        async def work() -> _T:
            return function(*args, **kwargs)

        return self._run(work())

    # ------------------------------------------------------------ life cycle

    def __enter__(self: _Self) -> _Self:
        if self._starts_on_entry:
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Connect in the background; returns at once. Idempotent."""
        self._run(self._client.start())
        self._is_started = True

    def offline(self) -> None:
        """End the connection, and make none until :meth:`start`. Idempotent."""
        self._run(self._client.offline())
        self._is_started = False

    @property
    def is_offline(self) -> bool:
        """Whether the client makes no connection, because it is not started, or after :meth:`offline`."""
        return self._client.is_offline

    def close(self) -> None:
        """Close the connection and the stores, and end all threads. Idempotent; may be called from a handler."""
        if self._pid != os.getpid():
            # The threads and the connection are those of the parent process, which goes on using them.
            self._is_closed = True
            return
        with self._lock:
            is_first, self._is_closed = not self._is_closed, True
        in_handler = threading.current_thread().name.startswith("flagent-handlers")
        if is_first:
            asyncio.run_coroutine_threadsafe(self._client.close(), self._loop).result()
            self._stop()
            self._closed.set()
        elif not in_handler:
            self._closed.wait()

    def _stop(self) -> None:
        self._is_closed = True
        # DNS look-ups leave threads in the loop's default executor.
        asyncio.run_coroutine_threadsafe(self._loop.shutdown_default_executor(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        in_handler = threading.current_thread().name.startswith("flagent-handlers")
        self._handlers.shutdown(wait=not in_handler, cancel_futures=True)
        self._loop.close()

    @property
    def is_connected(self) -> bool:
        """Whether a connection is open now."""
        return self._client.is_connected

    @property
    def last_event_id(self) -> str | None:
        """The event id up to which everything was received; a new client can resume from it."""
        return self._client.last_event_id

    @property
    def failure(self) -> FlagentError | None:
        """The fatal error that ended the client; ``None`` while it works."""
        return self._client.failure

    # --------------------------------------------------------- subscriptions

    def on_event(self, handler: Handler) -> Callable[[], None]:
        """Call *handler* with every event that arrives."""
        return self._subscribe(lambda: self._client.on_event(handler))

    def on_exposure(self, handler: Handler) -> Callable[[], None]:
        """Call *handler* with each :class:`Exposure` of this client's stores."""
        return self._register(lambda: self._call(self._client.on_exposure, handler))

    def on_error(self, handler: Handler) -> Callable[[], None]:
        """Call *handler* with each reported error."""
        return self._register(lambda: self._call(self._client.on_error, handler))

    def subscribe_flag(self, flag_key: str, handler: Handler, on_deleted: Handler | None = None) -> Callable[[], None]:
        """Call *handler* with the flag after each change, and *on_deleted* with its key."""
        return self._subscribe(lambda: self._client.subscribe_flag(flag_key, handler, on_deleted))

    def subscribe_tags(
        self, tags: Iterable[str], handler: Handler, on_deleted: Handler | None = None
    ) -> Callable[[], None]:
        """Call *handler* with the list of changed flags that have any of *tags*, or had one before the change."""
        chosen = frozenset(tags)
        return self._subscribe(lambda: self._client.subscribe_tags(chosen, handler, on_deleted))

    def subscribe_all(self, handler: Handler) -> Callable[[], None]:
        """Call *handler* with every event about a flag."""
        return self._subscribe(lambda: self._client.subscribe_all(handler))

    def subscribe_segments(self, handler: Handler) -> Callable[[], None]:
        """Call *handler* with the events of segments and distributions."""
        return self._subscribe(lambda: self._client.subscribe_segments(handler))

    def subscribe_tables(self, tables: Iterable[str], handler: Handler) -> Callable[[], None]:
        """Call *handler* with the row events of watched tables."""
        chosen = frozenset(tables)
        return self._subscribe(lambda: self._client.subscribe_tables(chosen, handler))

    def subscribe_events(
        self,
        handler: Handler,
        *,
        flags: Iterable[str] = (),
        flag_ids: Iterable[int] = (),
        tags: Iterable[str] = (),
        tables: Iterable[str] = (),
        segments: bool = False,
        types: Iterable[EventType | str] = (),
        schemas: Iterable[str] = (),
    ) -> Callable[[], None]:
        """Call *handler* with the events of a selection."""
        chosen: dict[str, Any] = {
            "flags": frozenset(flags),
            "flag_ids": frozenset(flag_ids),
            "tags": frozenset(tags),
            "tables": frozenset(tables),
            "segments": segments,
            "types": tuple(types),
            "schemas": frozenset(schemas),
        }
        return self._subscribe(lambda: self._client.subscribe_events(handler, **chosen))

    def _subscribe(self, subscribe: Callable[[], Subscription]) -> Callable[[], None]:
        return self._register(lambda: self._call(subscribe).unsubscribe)


class FlagentWebSocketClient(_Client[websocket.FlagentWebSocketClient]):
    """The WebSocket client, synchronous."""

    _make = websocket.FlagentWebSocketClient

    def subscribe(self, flag_key: str, handler: Handler, on_deleted: Handler | None = None) -> Callable[[], None]:
        """The same as :meth:`subscribe_flag`."""
        return self.subscribe_flag(flag_key, handler, on_deleted)

    def evaluate(
        self,
        flag_key: str | None = None,
        entity_id: str | int | None = None,
        entity_context: Mapping[str, ContextValue] | None = None,
        *,
        flag_id: int | None = None,
        entity_type: str | None = None,
        enable_debug: bool = False,
        min_position: str | int | None = None,
        timeout: float = 5.0,
    ) -> EvaluationResult:
        """Evaluate a flag on the server."""
        return self._run(
            self._client.evaluate(
                flag_key,
                entity_id,
                entity_context,
                flag_id=flag_id,
                entity_type=entity_type,
                enable_debug=enable_debug,
                min_position=min_position,
                timeout=timeout,
            )
        )

    def evaluate_batch(
        self,
        entities: Sequence[Mapping[str, Any]],
        *,
        flag_keys: Iterable[str] = (),
        flag_ids: Iterable[int] = (),
        flag_tags: Iterable[str] = (),
        flag_tags_operator: str | None = None,
        enable_debug: bool = False,
        min_position: str | int | None = None,
        timeout: float = 5.0,
    ) -> list[EvaluationResult]:
        """Evaluate several flags for several entities on the server."""
        return self._run(
            self._client.evaluate_batch(
                entities,
                flag_keys=flag_keys,
                flag_ids=flag_ids,
                flag_tags=flag_tags,
                flag_tags_operator=flag_tags_operator,
                enable_debug=enable_debug,
                min_position=min_position,
                timeout=timeout,
            )
        )


class FlagentSSEClient(_Client[sse.FlagentSSEClient]):
    """The client of the event stream, synchronous."""

    _make = sse.FlagentSSEClient

    def subscribe(self, handler: Handler, **selectors: Any) -> Callable[[], None]:
        """The same as :meth:`subscribe_events`; without selectors, every event about a flag."""
        return self.subscribe_events(handler, **selectors)


class FlagentClient(_Client[any_client.FlagentClient]):
    """The client that chooses its transport, synchronous."""

    _make = any_client.FlagentClient

    @property
    def transport(self) -> any_client.TransportName:
        """How the client reaches the server now, or tries to: ``websocket``, ``sse`` or ``polling``."""
        return self._client.transport

    def subscribe(self, handler: Handler, **selectors: Any) -> Callable[[], None]:
        """The same as :meth:`subscribe_events`; without selectors, every event about a flag."""
        return self.subscribe_events(handler, **selectors)


class FlagStore:
    """The live local copy, synchronous. Reading never waits and does not switch threads."""

    def __init__(
        self,
        client: FlagentClient | FlagentWebSocketClient | FlagentSSEClient,
        *,
        flags: Iterable[str] = (),
        flag_ids: Iterable[int] = (),
        tags: Iterable[str] = (),
        persistence: Persistence | None = None,
        bootstrap: object = None,
        max_age: float | timedelta = store.DEFAULT_MAX_AGE,
        cache_identity: str | None = None,
        exposure_window: float = 3600.0,
    ) -> None:
        self._client = client
        self._options: dict[str, Any] = {
            "flags": frozenset(flags),
            "flag_ids": frozenset(flag_ids),
            "tags": frozenset(tags),
            "max_age": max_age,
            "cache_identity": cache_identity,
            "exposure_window": exposure_window,
        }
        self._persistence = persistence
        self._is_detached = False
        self._store = self._make(bootstrap, persistence)
        client._stores.add(self)

    def _make(self, bootstrap: object, persistence: Persistence | None) -> store.FlagStore:
        client = self._client
        return client._call(
            store.FlagStore, client._client, bootstrap=bootstrap, persistence=persistence, **self._options
        )

    def _restart(self) -> None:
        """Go on in the child of a fork: with the parent's flags, until a snapshot has arrived."""
        if self._is_detached:
            return
        table = self._store._core.table
        # The fork may have interrupted a write, so the state is complete, but not up to a known id.
        flags = [dict(entry.raw) for entry in table]
        source = self._store.source
        self._store = self._make(None if source is None else {"flags": flags}, self._persistence)

    @property
    def status(self) -> StoreStatus:
        """INITIALIZING, READY, STALE, ERROR or CLOSED."""
        return self._store.status

    @property
    def last_event_id(self) -> str | None:
        """The event id up to which the store is complete; ``None`` before the first snapshot."""
        return self._store.last_event_id

    @property
    def source(self) -> StoreSource | None:
        """Where the flags come from: CACHE, BOOTSTRAP or SERVER; ``None`` before there are any."""
        return self._store.source

    @property
    def position(self) -> int | None:
        """The position up to which the store is complete; ``None`` before there are flags."""
        return self._store.position

    def wait_for(self, position: int | str, timeout: float | None = None) -> None:
        """Wait until the store is complete up to a position, or an event id. Raises :exc:`NotReady`."""
        self._client._run(self._store.wait_for(position, timeout))

    @property
    def digest(self) -> str:
        """``<count>:<hex8>``, equal to the server's digest of the same flags."""
        return self._store.digest

    def get(self, key: str, schema: str | None = None) -> Flag | None:
        """The flag of a key, or ``None``; raises :exc:`AmbiguousFlag`."""
        return self._store.get(key, schema)

    def all(self) -> list[Flag]:
        """All flags at this moment, ordered by schema and key."""
        return self._store.all()

    def __iter__(self) -> Iterator[Flag]:
        return iter(self._store)

    def __len__(self) -> int:
        return len(self._store)

    def __contains__(self, key: object) -> bool:
        return key in self._store

    def evaluate(
        self,
        flag_key: str | None = None,
        entity_id: str | int | None = None,
        entity_context: Mapping[str, ContextValue] | None = None,
        *,
        flag_id: int | None = None,
        entity_type: str | None = None,
        schema: str | None = None,
    ) -> EvaluationResult:
        """Evaluate a flag for an entity without network; the result equals the server's."""
        return self._store.evaluate(
            flag_key, entity_id, entity_context, flag_id=flag_id, entity_type=entity_type, schema=schema
        )

    def ready(self, timeout: float | None = None) -> None:
        """Wait until the store has been READY once; *timeout* is in seconds. Raises :exc:`NotReady`."""
        self._client._run(self._store.ready(timeout))

    def on_change(self, listener: Handler) -> Callable[[], None]:
        """Call *listener* with each change."""
        return self._client._register(lambda: self._client._call(self._store.on_change, listener))

    def on_exposure(self, handler: Handler) -> Callable[[], None]:
        """Call *handler* with each :class:`Exposure` of this client."""
        return self._client.on_exposure(handler)

    def on_status(self, listener: Handler) -> Callable[[], None]:
        """Call *listener* with each new status."""
        return self._client._register(lambda: self._client._call(self._store.on_status, listener))

    def close(self) -> None:
        """Stop updating the store; the client stays open and the flags stay readable. Idempotent."""
        self._is_detached = True
        self._client._call(self._store.close)


class ExposureReporter:
    """Reports counts of exposures to the server, synchronous. After a fork, the child reports its own."""

    def __init__(
        self,
        client: FlagentClient | FlagentWebSocketClient | FlagentSSEClient,
        *,
        url: str | None = None,
        interval: float = 10.0,
    ) -> None:
        self._client = client

        def begin() -> Callable[[], None]:
            self._reporter = client._call(exposures.ExposureReporter, client._client, url=url, interval=interval)
            return lambda: None

        self._end = client._register(begin)

    @property
    def url(self) -> str:
        """The server's endpoint."""
        return self._reporter.url

    @property
    def failure(self) -> FlagentError | None:
        """Why nothing is sent any more; ``None`` while it works."""
        return self._reporter.failure

    @property
    def dropped(self) -> int:
        """Exposures that were not reported, because there was no room for them."""
        return self._reporter.dropped

    @property
    def pending(self) -> int:
        """Different counts that wait to be sent."""
        return self._reporter.pending

    def close(self) -> None:
        """Send what is left, within a second, and end. Idempotent."""
        self._client._run(self._reporter.close())
