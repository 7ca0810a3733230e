"""A live local copy of the rows of a watched table."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from decimal import Decimal
from types import TracebackType
from typing import Any
from urllib.parse import urlencode

import httpx

from ._client import RealtimeClient
from ._connection_supervisor import ConnectionSupervisor, NextStep
from ._http_connector import HttpConnector
from ._policy import is_event_stream
from ._server_address import server_address
from ._sse_parser import SseItem, SseRetry
from ._sse_transport import decode_sse_item, sse_items
from ._store_core import StoreStatus
from ._table_core import RowChange, TableCore, TableUpdate, key_of, row_name
from .errors import ClientClosed, ConnectionLost, ConnectionRefused, FlagentError, MalformedMessage, NotReady

__all__ = ["RowChange", "TableStore"]

logger = logging.getLogger("flagent_realtime")

Listener = Callable[..., Any]


class TableStore:
    """The rows of a watched table, or those that a filter selects, kept current::

        async with TableStore(client, "shop.orders", where="status = $1", params=["open"]) as orders:
            await orders.ready(timeout=30)
            orders.get(7)

    *where*, *params* and *columns* are as on the event stream. Numbers are exact: ``int``, and :class:`Decimal` for all
    others. Beyond *max_rows* the store is in ERROR.

    It has a connection of its own, an event stream to the server of *client*, with the client's key, reconnection and
    limits. Listeners are called from the client's queue of handlers. Close it before the client.
    """

    def __init__(
        self,
        client: RealtimeClient,
        table: str,
        *,
        where: str | None = None,
        params: Sequence[Any] = (),
        columns: Iterable[str] = (),
        max_rows: int = 100_000,
    ) -> None:
        if max_rows < 1:
            raise ValueError(f"max_rows is {max_rows}; it must be 1 or more")
        self.table = table
        self._client = client
        self._core = TableCore(table, max_rows)
        query = [("table", table), *([] if where is None else [("where", where)])]
        query += [("param", value if isinstance(value, str) else json.dumps(value)) for value in params]
        chosen = tuple(columns)
        query += [("columns", ",".join(chosen))] if chosen else []
        self._query = [*query, ("envelope", "true")]
        self._url = server_address(client.url, "/api/v1/events/stream")
        self._connector = HttpConnector(client)
        self._supervisor = ConnectionSupervisor(client._supervisor.config, client._clock, self)
        self._settled = asyncio.Event()
        self._listeners: list[Listener] = []
        self._schema_listeners: list[Listener] = []
        self._failure: FlagentError | None = None
        self._last_error: FlagentError | None = None

    async def __aenter__(self) -> TableStore:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Connect in the background; starts the client, which calls the listeners. Idempotent."""
        if self._core.status is StoreStatus.CLOSED:
            raise ClientClosed()
        await self._client.start()
        if self._failure is None:
            self._supervisor.start()

    async def close(self) -> None:
        """End the connection; the rows stay readable. Idempotent."""
        self._core.end(StoreStatus.CLOSED)
        self._settled.set()
        await self._supervisor.close()
        await self._connector.close()

    # --------------------------------------------------------------- reading

    @property
    def status(self) -> StoreStatus:
        """INITIALIZING, READY, STALE, ERROR or CLOSED."""
        return self._core.status

    @property
    def failure(self) -> FlagentError | None:
        """Why the store is in ERROR."""
        return self._failure

    @property
    def position(self) -> int | None:
        """The position up to which the rows are complete; ``None`` before."""
        return self._core.cursor.position

    @property
    def rows(self) -> list[Mapping[str, Any]]:
        """All rows at this moment. Those whose values could not be delivered are left out."""
        return [entry.row for entry in list(self._core.entries.values()) for _ in range(entry.count) if entry.row]

    def __len__(self) -> int:
        return sum(entry.count for entry in list(self._core.entries.values()))

    def get(self, key: object) -> Mapping[str, Any] | None:
        """The row of a key: the value, for a key of one column, or the columns by name. ``None`` when there is none."""
        some = next(iter(list(self._core.entries.values())), None)
        if some is None:
            return None
        entry = self._core.entries.get(row_name(key_of(key, tuple(some.key or ()))))
        return None if entry is None else entry.row

    async def ready(self, timeout: float | None = None) -> None:
        """Wait until the store has been READY once; *timeout* is in seconds.

        Raises :exc:`NotReady`, the store's ``failure``, or :exc:`ClientClosed`.
        """
        try:
            await asyncio.wait_for(self._settled.wait(), timeout)
        except asyncio.TimeoutError:
            reason = "" if self._last_error is None else f"; {self._last_error}"
            raise NotReady(
                f"the rows of {self.table} were not ready after {timeout:g} s ({self.status.value}){reason}"
            ) from self._last_error
        if self._failure is not None:
            raise self._failure
        if self.status is StoreStatus.CLOSED:
            raise ClientClosed()

    def on_change(self, listener: Listener) -> Callable[[], None]:
        """Call *listener* with each :class:`RowChange`, in order. Returns a function that removes it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def on_schema_change(self, listener: Listener) -> Callable[[], None]:
        """Call *listener* with each ``schema_changed`` message. Returns a function that removes it."""
        self._schema_listeners.append(listener)
        return lambda: self._schema_listeners.remove(listener)

    # ------------------------------------------------ what the supervisor calls

    _feeds_store = True

    async def _run_connection(self) -> None:
        resume_id = self._core.resume_id
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-cache", "Accept-Encoding": "identity"}
        query = list(self._query)
        if resume_id is None:
            query.append(("snapshot", "true"))
        else:
            headers["Last-Event-ID"] = resume_id
        url = f"{self._url}?{urlencode(query)}"
        async with self._connector.open(url, headers, _check_event_stream) as response:
            self._supervisor.opened()
            async with aclosing(sse_items(response, self._client._max_message_bytes)) as items:
                async for item in items:
                    await self._process(item)

    async def _process(self, item: SseItem) -> None:
        if isinstance(item, SseRetry):
            self._supervisor.backoff.retry(item.ms)
            return
        try:
            message = decode_sse_item(item, parse_float=Decimal)
        except MalformedMessage as error:
            self._client._report(error)
            return
        if message is None:
            return
        now = self._client._clock.now()
        self._supervisor.received(now)
        if message.get("type") == "heartbeat":
            self._supervisor.liveness.heartbeat(now)
        elif message.get("type") == "connected":
            self._supervisor.liveness.announced(message.get("heartbeatMs"))
        self._apply(self._core.receive(message))
        dispatcher = self._client._dispatcher
        if dispatcher.is_full:
            self._supervisor.pause()
            try:
                await dispatcher.room()
            finally:
                self._supervisor.resume()

    def _apply(self, update: TableUpdate) -> None:
        if update.unreadable is not None:
            self._client._report(MalformedMessage(update.unreadable))
        if update.changes and self._listeners:
            changes = update.changes
            self._client._dispatcher.post(lambda: self._publish(self._listeners, changes))
        if update.schema_change is not None and self._schema_listeners:
            change = update.schema_change
            self._client._dispatcher.post(lambda: self._publish(self._schema_listeners, [change]))
        if self._core.status is StoreStatus.READY:
            self._settled.set()
        if update.failure is not None:
            raise ConnectionRefused(update.failure)
        if update.retry is not None:
            raise ConnectionLost(update.retry)
        if update.reload is not None:
            self._core.reload()
            self._supervisor.replace(update.reload)

    async def _publish(self, listeners: list[Listener], values: Sequence[Any]) -> None:
        for value in values:
            for listener in list(listeners):
                await self._client._dispatcher.call(listener, value)

    def _tick(self, now: float) -> None:
        """Silence ends the connection, and with it READY."""

    def _disconnected(self, error: FlagentError) -> None:
        self._core.connection_lost()

    def _connection_lost(self, error: ConnectionLost) -> None:
        self._last_error = error
        self._client._report_error(error)

    def _client_failed(self, error: FlagentError) -> None:
        logger.error(
            "The rows of %s are no longer updated: %s",
            self.table,
            error,
            extra={"action": "table_failed", "table": self.table, "reason": str(error)},
        )
        self._failure = error
        self._core.end(StoreStatus.ERROR)
        self._settled.set()
        self._client._report_error(error)

    def _next_step(self, end: ConnectionLost | ConnectionRefused) -> NextStep:
        return NextStep.FAIL if isinstance(end, ConnectionRefused) else NextStep.BACKOFF


def _check_event_stream(response: httpx.Response) -> None:
    if response.status_code != 200 or not is_event_stream(response.headers.get("Content-Type", "")):
        raise ConnectionLost("the response is not an event stream; check the URL", status=response.status_code)
