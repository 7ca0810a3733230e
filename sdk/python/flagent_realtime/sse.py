"""The client of the event stream (Server-Sent Events)."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import httpx

from ._client import Plan, RealtimeClient
from ._http import key_headers, refusal
from ._keep_alive import parse_keep_alive
from ._policy import Outcome, is_event_stream, judge_status, resolve_redirect
from ._selection import Selection
from ._sse_parser import SseComment, SseEvent, SseId, SseOutput, SseParser, SseRetry
from .errors import ConnectionLost, FlagentError, ProtocolError, Refused
from .subscriptions import Subscription

if TYPE_CHECKING:
    from .store import FlagStore

__all__ = ["FlagentSSEClient"]

logger = logging.getLogger("flagent_realtime")

SNAPSHOT_TIMEOUT_S = 30.0


class FlagentSSEClient(RealtimeClient):
    """Live events over one HTTP response: ``FlagentSSEClient("https://host/api/v1/events/stream", api_key=…)``.

    The selection is part of the request, so that a subscription to something new makes the connection anew (resumed,
    so nothing is lost). An event stream cannot select everything and tables at once; use two clients or the WebSocket.
    """

    _http: httpx.AsyncClient | None = None

    def subscribe(self, handler: Callable[..., Any], **selectors: Any) -> Subscription:
        """Call *handler* with the events of a selection, see :meth:`subscribe_events`; without one, with all."""
        return self.subscribe_events(handler, **selectors)

    async def _session(self, plan: Plan) -> None:
        self._side_tasks: set[asyncio.Task[None]] = set()
        try:
            async with self._stream(plan) as response:
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
                for output in parser.feed(chunk):
                    await self._output(output)
        except httpx.HTTPError as cause:
            raise ConnectionLost(f"the stream broke: {type(cause).__name__}") from cause
        except ProtocolError as cause:
            raise ConnectionLost(str(cause)) from cause
        raise ConnectionLost("the stream has ended")

    async def _output(self, output: SseOutput) -> None:
        if isinstance(output, SseRetry):
            self._backoff.retry(output.ms)
            return
        try:
            message = as_message(output)
        except ProtocolError as error:
            self._report(error)
            return
        if message is not None:
            await self._accept(message)

    # ------------------------------------------------------------ connecting

    @asynccontextmanager
    async def _stream(self, plan: Plan) -> AsyncIterator[httpx.Response]:
        """A successful answer to a request; other answers become errors."""
        client = self._http
        if client is None:
            client = self._http = httpx.AsyncClient(
                verify=self._ssl_context if self._ssl_context is not None else True,
                timeout=httpx.Timeout(self._connect_timeout, read=None),
                follow_redirects=False,
            )
        url, key, hop, asked_again = self._address(plan), await self._key(), 0, False
        while True:
            headers = {"Accept": "text/event-stream", "Cache-Control": "no-cache", "Accept-Encoding": "identity"}
            if plan.last_event_id is not None:
                headers["Last-Event-ID"] = plan.last_event_id
            request = client.build_request("GET", url, headers=headers | key_headers(key))
            response = await self._send(client, request)
            try:
                outcome = judge_status(response.status_code)
                if outcome is Outcome.STREAM:
                    if not is_event_stream(response.headers.get("Content-Type", "")):
                        raise ConnectionLost("the answer is no event stream", status=response.status_code)
                    yield response
                    return
                if outcome is Outcome.REDIRECT:
                    hop += 1
                    target = resolve_redirect(url, response.headers.get("Location"), hop)
                    if target is None:
                        raise Refused("a redirect cannot be followed", status=response.status_code)
                    url, key = _with_query_of(url, target[0]), key if target[1] else None
                elif response.status_code == 401 and callable(self._api_key) and not asked_again:
                    asked_again, key = True, await self._key()
                else:
                    raise refusal(response.status_code, response.headers)
            finally:
                await response.aclose()

    async def _send(self, client: httpx.AsyncClient, request: httpx.Request) -> httpx.Response:
        try:
            return await asyncio.wait_for(client.send(request, stream=True), self._connect_timeout)
        except asyncio.TimeoutError as cause:
            raise ConnectionLost(f"no answer within {self._connect_timeout:g} s") from cause
        except httpx.HTTPError as cause:
            raise ConnectionLost(f"cannot connect: {type(cause).__name__}") from cause

    def _address(self, plan: Plan) -> str:
        if plan.selection.everything and plan.selection.tables:
            raise Refused("an event stream cannot select everything and tables at once")
        parts = urlsplit(self.url)
        query = parse_qsl(parts.query, keep_blank_values=True) + plan.selection.to_query() + [("envelope", "true")]
        if plan.snapshot:
            query.append(("snapshot", "true"))
        return urlunsplit(parts._replace(query=urlencode(query)))

    # ------------------------------------------- what changes while connected

    def _selection_changed(self) -> None:
        if self._session_task is not None and not _covers(self._plan.selection, self._selection()):
            self._restart()

    def _request_snapshot(self, store: FlagStore) -> None:
        task = asyncio.get_running_loop().create_task(self._fetch_snapshot(store), name="flagent-snapshot")
        self._side_tasks.add(task)
        task.add_done_callback(self._side_tasks.discard)

    async def _fetch_snapshot(self, store: FlagStore) -> None:
        """Take a snapshot from a second, short stream, while the first goes on."""
        try:
            message = await asyncio.wait_for(self._first_snapshot(store.selection), SNAPSHOT_TIMEOUT_S)
        except (FlagentError, asyncio.TimeoutError) as cause:
            logger.warning("A snapshot cannot be fetched", extra={"action": "snapshot_failed"})
            error = cause if isinstance(cause, FlagentError) else ConnectionLost("a snapshot did not come in time")
            self._dispatcher.report(error)
            store._request_refused()
            return
        problem = self._feed(store, message, self._clock.now())
        if problem is not None:
            self._report(problem)
            store._request_refused()

    async def _first_snapshot(self, selection: Selection) -> dict[str, Any]:
        parser = SseParser(self._max_message_bytes)
        async with self._stream(Plan(selection, None, True)) as response:
            try:
                async for chunk in response.aiter_bytes():
                    for output in parser.feed(chunk):
                        message = None if isinstance(output, SseRetry) else as_message(output)
                        if message is not None and message["type"] == "snapshot":
                            return message
            except httpx.HTTPError as cause:
                raise ConnectionLost(f"the snapshot's stream broke: {type(cause).__name__}") from cause
        raise ConnectionLost("the snapshot's stream ended without a snapshot")

    async def _release(self) -> None:
        client, self._http = self._http, None
        if client is not None:
            await client.aclose()


def as_message(output: SseOutput) -> dict[str, Any] | None:
    """An output of the parser in the WebSocket's form; ``None`` for what says nothing."""
    if isinstance(output, SseComment):
        heartbeat = parse_keep_alive(output.text)
        return None if heartbeat is None else {"type": "heartbeat", **heartbeat}
    if isinstance(output, SseId):
        return {"type": "position", "id": output.last_event_id} if output.last_event_id else None
    if not isinstance(output, SseEvent):
        return None
    try:
        data = json.loads(output.data)
    except (ValueError, RecursionError) as cause:
        raise ProtocolError(f"the data of a {output.event} event is not JSON") from cause
    if not isinstance(data, dict):
        raise ProtocolError(f"the data of a {output.event} event is not an object")
    message = {**data}
    message.setdefault("type", output.event)
    if output.event != "connected" and output.last_event_id:
        message.setdefault("id", output.last_event_id)
    return message


def _with_query_of(old: str, new: str) -> str:
    """A redirect that names no query keeps ours: without it, the stream would be another one."""
    parts = urlsplit(new)
    return new if parts.query else urlunsplit(parts._replace(query=urlsplit(old).query))


def _covers(wide: Selection, narrow: Selection) -> bool:
    """Whether a stream that asked for *wide* brings all of *narrow*; asking for nothing brings everything."""
    if (wide.types, wide.schemas) != (narrow.types, narrow.schemas) and (wide.types or wide.schemas):
        return False
    missing = narrow.minus(wide)
    if wide.everything or wide.is_empty:
        return missing.tables == frozenset()
    return missing.is_empty
