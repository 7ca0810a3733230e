"""The client of the event stream (Server-Sent Events)."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import httpx

from ._client import ConnectionRequest, RealtimeClient
from ._http import MAX_PROBLEM_BYTES, cause_text, key_headers, response_error
from ._keep_alive import parse_keep_alive
from ._policy import Outcome, is_event_stream, resolve_redirect, status_outcome
from ._selection import MAX_VALUES, Selection, SelectionLimits
from ._sse_parser import SseComment, SseEvent, SseId, SseItem, SseParser, SseRetry
from ._store_driver import StoreDriver
from .errors import ConnectionLost, ConnectionRefused, FlagentError, MalformedMessage
from .subscriptions import Subscription

__all__ = ["FlagentSSEClient"]

logger = logging.getLogger("flagent_realtime")

SNAPSHOT_TIMEOUT_S = 30.0
PROBLEM_TIMEOUT_S = 2.0


class FlagentSSEClient(RealtimeClient):
    """Live events over one HTTP response: ``FlagentSSEClient("https://host/api/v1/events/stream", api_key=…)``.

    The selection is part of the request: a subscription that widens it replaces the connection by one that resumes, so
    that no event is lost. An event stream cannot select everything and tables at once; use two clients or the WebSocket
    client. See :class:`RealtimeClient` for the arguments.
    """

    _limits = SelectionLimits(MAX_VALUES, is_query=True)
    _http: httpx.AsyncClient | None = None

    def subscribe(self, handler: Callable[..., Any], **selectors: Any) -> Subscription:
        """The same as :meth:`subscribe_events`; without selectors, every event about a flag."""
        return self.subscribe_events(handler, **selectors)

    async def _run_connection(self) -> None:
        request = self._new_request()
        self._side_tasks: set[asyncio.Task[None]] = set()
        try:
            async with self._open(request) as response:
                self._opened()
                await self._read(response)
        finally:
            for task in self._side_tasks:
                task.cancel()
            await asyncio.gather(*self._side_tasks, return_exceptions=True)

    async def _read(self, response: httpx.Response) -> None:
        parser = SseParser(self._max_message_bytes)
        try:
            async for chunk in response.aiter_bytes():
                for item in parser.feed(chunk):
                    await self._process(item)
        except httpx.HTTPError as cause:
            raise ConnectionLost(f"the stream broke: {cause_text(cause)}") from cause
        except MalformedMessage as cause:
            raise ConnectionLost(str(cause)) from cause
        raise ConnectionLost("the stream has ended")

    async def _process(self, item: SseItem) -> None:
        if isinstance(item, SseRetry):
            self._supervisor.backoff.retry(item.ms)
            return
        try:
            message = decode_sse_item(item)
        except MalformedMessage as error:
            self._report(error)
            return
        if message is not None:
            await self._accept(message)

    # ------------------------------------------------------------ connecting

    @asynccontextmanager
    async def _open(self, request: ConnectionRequest) -> AsyncIterator[httpx.Response]:
        """The response that is an event stream; other responses raise ConnectionLost or ConnectionRefused."""
        client = self._http
        if client is None:
            client = self._http = httpx.AsyncClient(
                verify=self._ssl_context if self._ssl_context is not None else True,
                timeout=httpx.Timeout(self._connect_timeout, read=None),
                follow_redirects=False,
            )
        url, key, hop, key_was_renewed = self._address(request), await self._key(), 0, False
        while True:
            headers = {"Accept": "text/event-stream", "Cache-Control": "no-cache", "Accept-Encoding": "identity"}
            if request.last_event_id is not None:
                headers["Last-Event-ID"] = request.last_event_id
            response = await self._send(client, client.build_request("GET", url, headers=headers | key_headers(key)))
            try:
                outcome = status_outcome(response.status_code)
                if outcome is Outcome.STREAM:
                    if not is_event_stream(response.headers.get("Content-Type", "")):
                        raise ConnectionLost(
                            "the response is not an event stream; check the path of the URL",
                            status=response.status_code,
                        )
                    yield response
                    return
                if outcome is Outcome.REDIRECT:
                    hop += 1
                    target = resolve_redirect(url, response.headers.get("Location"), hop)
                    if target is None:
                        raise ConnectionRefused(
                            "the server sent a redirect that must not be followed; check the URL",
                            status=response.status_code,
                        )
                    url, key = target[0], key if target[1] else None
                elif response.status_code == 401 and callable(self._api_key) and not key_was_renewed:
                    key_was_renewed, key = True, await self._key()
                else:
                    raise response_error(response.status_code, response.headers, await self._problem(response))
            finally:
                await response.aclose()

    async def _send(self, client: httpx.AsyncClient, request: httpx.Request) -> httpx.Response:
        try:
            return await asyncio.wait_for(client.send(request, stream=True), self._connect_timeout)
        except asyncio.TimeoutError as cause:
            raise ConnectionLost(f"no response within {self._connect_timeout:g} s") from cause
        except httpx.HTTPError as cause:
            raise ConnectionLost(f"cannot connect: {cause_text(cause)}") from cause

    async def _problem(self, response: httpx.Response) -> bytes:
        """The beginning of a response's body; empty when it does not come in time."""

        async def read() -> bytes:
            body = b""
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_PROBLEM_BYTES:
                    break
            return body[:MAX_PROBLEM_BYTES]

        try:
            return await asyncio.wait_for(read(), min(self._connect_timeout, PROBLEM_TIMEOUT_S))
        except (asyncio.TimeoutError, httpx.HTTPError):
            # The status alone decides what follows; the body only explains it.
            return b""

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

    def _apply_selection(self) -> None:
        if not self._request.selection.covers(self._selection()):
            self._supervisor.replace("the selection has changed")

    def _request_snapshot(self, store: StoreDriver) -> None:
        task = asyncio.get_running_loop().create_task(self._fetch_snapshot(store), name="flagent-snapshot")
        self._side_tasks.add(task)
        task.add_done_callback(self._side_tasks.discard)

    async def _fetch_snapshot(self, store: StoreDriver) -> None:
        """Read a snapshot from a second, short stream while the first one goes on."""
        try:
            message = await asyncio.wait_for(self._first_snapshot(store.selection), SNAPSHOT_TIMEOUT_S)
        except (FlagentError, asyncio.TimeoutError) as cause:
            timed_out = ConnectionLost(f"no snapshot within {SNAPSHOT_TIMEOUT_S:g} s")
            error = cause if isinstance(cause, FlagentError) else timed_out
            logger.warning(
                "A snapshot cannot be fetched; the store stays STALE until the next attempt: %s",
                error,
                extra={"action": "snapshot_failed", "reason": str(error)},
            )
            self._dispatcher.report(error)
            store.snapshot_failed()
            return
        malformed = self._feed(store, message, self._clock.now())
        if malformed is not None:
            self._report(malformed)
            store.snapshot_failed()

    async def _first_snapshot(self, selection: Selection) -> dict[str, Any]:
        parser = SseParser(self._max_message_bytes)
        async with self._open(ConnectionRequest(selection, None, True)) as response:
            try:
                async for chunk in response.aiter_bytes():
                    for item in parser.feed(chunk):
                        message = None if isinstance(item, SseRetry) else decode_sse_item(item)
                        if message is not None and message["type"] == "snapshot":
                            return message
            except httpx.HTTPError as cause:
                raise ConnectionLost(f"the stream of a snapshot broke: {cause_text(cause)}") from cause
        raise ConnectionLost("the stream of a snapshot ended without one")

    async def _release(self) -> None:
        client, self._http = self._http, None
        if client is not None:
            await client.aclose()


def decode_sse_item(item: SseItem) -> dict[str, Any] | None:
    """An item of the parser as a message in the WebSocket's form; ``None`` when it carries none.

    Raises :exc:`MalformedMessage`.
    """
    if isinstance(item, SseComment):
        heartbeat = parse_keep_alive(item.text)
        return None if heartbeat is None else {"type": "heartbeat", **heartbeat}
    if isinstance(item, SseId):
        return {"type": "position", "id": item.last_event_id} if item.last_event_id else None
    if not isinstance(item, SseEvent):
        return None
    try:
        data = json.loads(item.data)
    except (ValueError, RecursionError) as cause:
        raise MalformedMessage(f"the data of a {item.event} event is not JSON") from cause
    if not isinstance(data, dict):
        raise MalformedMessage(f"the data of a {item.event} event is not an object")
    message = {**data}
    message.setdefault("type", item.event)
    if item.event != "connected" and item.last_event_id:
        message.setdefault("id", item.last_event_id)
    return message
