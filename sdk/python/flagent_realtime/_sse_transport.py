"""The event stream (Server-Sent Events) as a transport."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import httpx

from ._http import cause_text
from ._http_connector import HttpConnector
from ._keep_alive import parse_keep_alive
from ._policy import is_event_stream
from ._selection import MAX_VALUES, Selection, SelectionLimits
from ._sse_parser import SseComment, SseEvent, SseId, SseItem, SseParser, SseRetry
from ._store_driver import StoreDriver
from ._transport import ConnectionRequest, Transport, TransportHost
from ._transport_choice import TransportName
from .errors import ConnectionLost, ConnectionRefused, FlagentError, MalformedMessage

logger = logging.getLogger("flagent_realtime")

SNAPSHOT_TIMEOUT_S = 30.0
SSE_LIMITS = SelectionLimits(MAX_VALUES, is_query=True)


class SseTransport(Transport):
    """Live events over one HTTP response. The selection is part of the request."""

    name = TransportName.SSE
    limits = SSE_LIMITS

    def __init__(self, host: TransportHost, url: str) -> None:
        super().__init__(host, url)
        self._connector = HttpConnector(host)
        self._side_tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        request = self._host._new_request()
        self._side_tasks = set()
        try:
            async with self._open(request) as response:
                self._host._opened()
                await self._read(response)
        finally:
            for task in self._side_tasks:
                task.cancel()
            await asyncio.gather(*self._side_tasks, return_exceptions=True)

    async def probe(self) -> None:
        await asyncio.wait_for(
            self._first(ConnectionRequest(self._host._selection(), None, False), "connected"),
            self._host._connect_timeout,
        )

    def can_carry(self, selection: Selection) -> bool:
        return super().can_carry(selection) and not (selection.everything and selection.tables)

    async def _read(self, response: httpx.Response) -> None:
        async with aclosing(sse_items(response, self._host._max_message_bytes, self._host._heard)) as items:
            async for item in items:
                await self._process(item)

    async def _process(self, item: SseItem) -> None:
        if isinstance(item, SseRetry):
            self._host._supervisor.backoff.retry(item.ms)
            return
        try:
            message = decode_sse_item(item)
        except MalformedMessage as error:
            self._host._report(error)
            return
        if message is not None:
            await self._host._accept(message)

    def _open(self, request: ConnectionRequest) -> Any:
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-cache", "Accept-Encoding": "identity"}
        if request.last_event_id is not None:
            headers["Last-Event-ID"] = request.last_event_id
        return self._connector.open(self._address(request), headers, _check_event_stream)

    def _address(self, request: ConnectionRequest) -> str:
        if request.selection.everything and request.selection.tables:
            raise ConnectionRefused(
                "an event stream cannot select everything and tables at once; use two clients or the WebSocket client"
            )
        parts = urlsplit(self.url)
        query = parse_qsl(parts.query, keep_blank_values=True) + request.selection.to_query() + [("envelope", "true")]
        if request.snapshot:
            query.append(("snapshot", "true"))
        return urlunsplit(parts._replace(query=urlencode(query)))

    # ------------------------------------------- what changes while connected

    def apply_selection(self) -> None:
        if not self._host._request.selection.covers(self._host._selection()):
            self._host._supervisor.replace("the selection has changed")

    def request_snapshot(self, store: StoreDriver) -> None:
        task = asyncio.get_running_loop().create_task(self._fetch_snapshot(store), name="flagent-snapshot")
        self._side_tasks.add(task)
        task.add_done_callback(self._side_tasks.discard)

    async def _fetch_snapshot(self, store: StoreDriver) -> None:
        """Read a snapshot from a second, short stream while the first one goes on."""
        host = self._host
        try:
            request = ConnectionRequest(store.selection, None, True)
            message = await asyncio.wait_for(self._first(request, "snapshot"), SNAPSHOT_TIMEOUT_S)
        except (FlagentError, asyncio.TimeoutError) as cause:
            timed_out = ConnectionLost(f"no snapshot within {SNAPSHOT_TIMEOUT_S:g} s")
            error = cause if isinstance(cause, FlagentError) else timed_out
            logger.warning(
                "A snapshot cannot be fetched; the store stays STALE until the next attempt: %s",
                error,
                extra={"action": "snapshot_failed", "reason": str(error)},
            )
            host._dispatcher.report(error)
            store.snapshot_failed()
            return
        malformed = host._feed(store, message, host._clock.now())
        if malformed is not None:
            host._report(malformed)
            store.snapshot_failed()

    async def _first(self, request: ConnectionRequest, kind: str) -> dict[str, Any]:
        """The first message of a kind on a stream of its own."""
        async with (
            self._open(request) as response,
            aclosing(sse_items(response, self._host._max_message_bytes)) as items,
        ):
            async for item in items:
                message = None if isinstance(item, SseRetry) else decode_sse_item(item)
                if message is not None and message["type"] == kind:
                    return message
        raise AssertionError("the items of a stream end with an exception")

    async def release(self) -> None:
        await self._connector.close()


def _check_event_stream(response: httpx.Response) -> None:
    if response.status_code != 200 or not is_event_stream(response.headers.get("Content-Type", "")):
        raise ConnectionLost(
            "the response is not an event stream; check the path of the URL",
            status=response.status_code,
            kind="failed",
        )


async def sse_items(
    response: httpx.Response, max_bytes: int, heard: Callable[[], object] = lambda: None
) -> AsyncGenerator[SseItem, None]:
    """The items of an event stream. *heard* is called for everything that arrives.

    It never ends by itself: raises :exc:`ConnectionLost` when the stream breaks, ends, or has a block of more than
    *max_bytes*.
    """
    parser = SseParser(max_bytes)
    try:
        async for chunk in response.aiter_bytes():
            heard()
            for item in parser.feed(chunk):
                yield item
    except httpx.HTTPError as cause:
        raise ConnectionLost(f"the stream broke: {cause_text(cause)}") from cause
    except MalformedMessage as cause:
        raise ConnectionLost(str(cause)) from cause
    raise ConnectionLost("the stream has ended")


def decode_sse_item(item: SseItem, parse_float: Callable[[str], Any] | None = None) -> dict[str, Any] | None:
    """An item of the parser as a message in the WebSocket's form; ``None`` when it carries none.

    *parse_float* reads numbers that are not whole. Raises :exc:`MalformedMessage`.
    """
    if isinstance(item, SseComment):
        heartbeat = parse_keep_alive(item.text)
        return None if heartbeat is None else {"type": "heartbeat", **heartbeat}
    if isinstance(item, SseId):
        return {"type": "position", "id": item.last_event_id} if item.last_event_id else None
    if not isinstance(item, SseEvent):
        return None
    try:
        data = json.loads(item.data, parse_float=parse_float)
    except (ValueError, RecursionError) as cause:
        raise MalformedMessage(f"the data of a {item.event} event is not JSON") from cause
    if not isinstance(data, dict):
        raise MalformedMessage(f"the data of a {item.event} event is not an object")
    message = {**data}
    message.setdefault("type", item.event)
    if item.event != "connected" and item.last_event_id:
        message.setdefault("id", item.last_event_id)
    return message
