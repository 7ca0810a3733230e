"""The WebSocket as a transport."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.protocol import State

from ._http import cause_text, key_headers, response_error
from ._pending_requests import PendingRequests
from ._policy import Outcome, close_code_outcome, resolve_redirect, status_outcome
from ._selection import Selection, SelectionLimits, subscribe_messages
from ._store_driver import StoreDriver
from ._transport import Transport, TransportHost
from ._transport_choice import TransportName
from .errors import (
    ConnectionLost,
    ConnectionRefused,
    FlagentError,
    MalformedMessage,
    RequestFailed,
    RequestTimeout,
)

logger = logging.getLogger("flagent_realtime")

CLOSE_TIMEOUT_S = 1.0


class _Connection(ClientConnection):
    """Reports each arrival of bytes, and aborts the socket when the peer sent its close frame but does not close the
    socket within the close timeout."""

    _abort_handle: asyncio.TimerHandle | None = None

    def __init__(self, *args: Any, made: Callable[[], None], heard: Callable[[], None], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._made, self._heard = made, heard

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._made()
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._heard()
        super().data_received(data)
        if self.state is State.CLOSING and self._abort_handle is None:
            self._abort_handle = self.loop.call_later(CLOSE_TIMEOUT_S, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._abort_handle is not None:
            self._abort_handle.cancel()
        super().connection_lost(exc)


class _Connect(connect):
    """Leaves redirects to the client: the API key must not be sent to another origin."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class WebSocketTransport(Transport):
    """Live events and requests over one WebSocket."""

    name = TransportName.WEBSOCKET
    # The server's limit is 10 000. A selection that is sent in parts takes one more for a moment.
    limits = SelectionLimits(9_999)

    def __init__(self, host: TransportHost, url: str) -> None:
        super().__init__(host, url)
        self._outbox: deque[dict[str, Any]] = deque()
        self._outbox_filled = asyncio.Event()
        self._requests = PendingRequests()
        self._snapshot_requests: dict[str, StoreDriver] = {}
        self._primary_requests: set[str] = set()
        self._catch_up_request: str | None = None
        self._subscribed = Selection()
        self._is_open = False
        self._count = 0

    async def call(self, message: dict[str, Any], timeout: float) -> Mapping[str, Any]:
        """Send a request and wait for its response, *timeout* seconds at most, also for a connection."""
        try:
            return await asyncio.wait_for(self._call_when_connected(message), timeout)
        except asyncio.TimeoutError:
            raise RequestTimeout(f"no response to {message['type']} within {timeout:g} s") from None

    async def _call_when_connected(self, message: dict[str, Any]) -> Mapping[str, Any]:
        if not self._is_open:
            await self._requests.connection()
        request_id = self._post_request({name: value for name, value in message.items() if value is not None})
        return await self._requests.response(request_id)

    # --------------------------------------------------------- the connection

    async def run(self) -> None:
        self._outbox.clear()
        self._snapshot_requests.clear()
        self._subscribed = Selection()
        socket = await self._open()
        sender = asyncio.create_task(self._send(socket), name="flagent-sender")
        try:
            self._host._opened()
            self._subscribe_first()
            while True:
                await self._process(await socket.recv())
        except ConnectionClosed as cause:
            raise _close_error(cause) from cause
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
            if self._host._supervisor.is_ending:
                socket.transport.abort()
            await socket.close()

    async def _open(self) -> ClientConnection:
        host = self._host
        url, key, hop, key_was_renewed = self.url, await host._key(), 0, False
        while True:
            is_made = asyncio.Event()
            try:
                return await _Connect(
                    url,
                    additional_headers=key_headers(key),
                    ssl=(host._ssl_context or True) if url.startswith("wss:") else None,
                    open_timeout=host._connect_timeout,
                    close_timeout=CLOSE_TIMEOUT_S,
                    # The protocol's heartbeats reveal silence. A ping would get no pong while a slow handler keeps the
                    # socket unread, and the library would then close a healthy connection.
                    ping_interval=None,
                    max_size=host._max_message_bytes,
                    create_connection=cast(Any, partial(_Connection, made=is_made.set, heard=host._heard)),
                )
            except InvalidStatus as cause:
                response = cause.response
                if status_outcome(response.status_code) is Outcome.REDIRECT:
                    hop += 1
                    target = resolve_redirect(url, response.headers.get("Location"), hop)
                    if target is None:
                        raise ConnectionRefused(
                            "the server sent a redirect that must not be followed; check the URL",
                            status=response.status_code,
                        ) from cause
                    url, key = target[0], key if target[1] else None
                elif response.status_code == 401 and callable(host._api_key) and not key_was_renewed:
                    key_was_renewed, key = True, await host._key()
                elif status_outcome(response.status_code) is Outcome.STREAM:
                    raise ConnectionLost(
                        "the server does not open a WebSocket at this URL; check its path", status=200, kind="failed"
                    ) from cause
                else:
                    raise response_error(response.status_code, response.headers, bytes(response.body or b"")) from cause
            except InvalidURI as cause:
                raise ConnectionRefused(f"{url!r} is not a WebSocket URL such as wss://host/ws") from cause
            except (OSError, asyncio.TimeoutError, InvalidHandshake, EOFError, ConnectionClosed) as cause:
                timed_out = "silent" if isinstance(cause, asyncio.TimeoutError) else "failed"
                kind = timed_out if is_made.is_set() else "refused"
                raise ConnectionLost(f"cannot connect: {cause_text(cause)}", kind=kind) from cause

    async def _send(self, socket: ClientConnection) -> None:
        while True:
            while self._outbox:
                await socket.send(json.dumps(self._outbox.popleft()))
            self._outbox_filled.clear()
            await self._outbox_filled.wait()

    def _post_request(self, message: dict[str, Any]) -> str:
        """Queue a message for sending; returns its ``requestId``."""
        self._count += 1
        request_id = f"r{self._count}"
        self._outbox.append({**message, "requestId": request_id})
        self._outbox_filled.set()
        return request_id

    async def _process(self, frame: str | bytes) -> None:
        if isinstance(frame, bytes):
            self._host._report(MalformedMessage("a WebSocket frame is binary; JSON text is expected"))
            return
        try:
            message = json.loads(frame)
        except (ValueError, RecursionError) as cause:
            error = MalformedMessage("a WebSocket frame is not JSON")
            error.__cause__ = cause
            self._host._report(error)
            return
        if not isinstance(message, dict):
            self._host._report(MalformedMessage("a WebSocket frame is not a JSON object"))
            return
        if message.get("type") == "pong" and message.get("requestId") == self._catch_up_request:
            await self._host._accept({"type": "caught_up"})
        elif not self._complete_request(message):
            await self._host._accept(message)

    def _complete_request(self, message: Mapping[str, Any]) -> bool:
        """Pass a response to the request that waits for it. Returns whether the message is complete with that."""
        kind, request_id = message.get("type"), message.get("requestId")
        request_id = request_id if isinstance(request_id, str) else None
        if kind in ("evaluation_result", "pong"):
            self._requests.resolve(request_id, message)
        elif kind == "error":
            self._request_failed(request_id, RequestFailed(str(message.get("code")), str(message.get("message"))))
        elif kind not in ("unsubscribed", "subscribed") or (kind == "subscribed" and not self._host._is_greeted):
            return False
        self._host._supervisor.liveness.message(self._host._clock.now())
        return True

    def _request_failed(self, request_id: str | None, error: RequestFailed) -> None:
        if self._requests.reject(request_id, error):
            return
        logger.warning(
            "The server rejected a request: %s", error, extra={"action": "request_failed", "reason": str(error)}
        )
        self._host._dispatcher.report(error)
        store = self._snapshot_requests.pop(request_id or "", None)
        if store is not None:
            store.snapshot_failed()
        if request_id in self._primary_requests:
            self._host._supervisor.drop(f"the server rejected the subscription: {error}")

    # ---------------------------------------------------------- subscriptions

    def _subscribe_first(self) -> None:
        # Decided only now: subscriptions and stores may have been added while connecting.
        request = self._host._new_request()
        self._primary_requests = set()
        if request.selection.is_empty:
            return
        start: dict[str, Any] = {"snapshot": True} if request.snapshot else {}
        if request.last_event_id is not None:
            start = {"lastEventId": request.last_event_id}
        self._subscribed = request.selection
        self._primary_requests = set(map(self._post_request, subscribe_messages(request.selection, **start)))
        # The server answers in order, and a ping only after the replay: the pong marks the end of the replay.
        self._catch_up_request = None if request.last_event_id is None else self._post_request({"type": "ping"})

    def apply_selection(self) -> None:
        if not self._is_open or self._host._supervisor.is_ending:
            return
        if self._subscribed.is_empty:
            self._subscribe_first()
            return
        wanted = self._host._selection()
        if (wanted.types, wanted.schemas) != (self._subscribed.types, self._subscribed.schemas):
            self._host._supervisor.replace("the selection has changed")
            return
        added, removed = wanted.minus(self._subscribed), self._subscribed.minus(wanted)
        if not added.is_empty:
            for message in subscribe_messages(added):
                self._post_request(message)
        if wanted.is_empty:
            self._post_request({"type": "unsubscribe"})
        elif not removed.is_empty:
            for part in removed.parts():
                self._post_request({"type": "unsubscribe", **part.to_message()})
        self._subscribed = wanted

    def request_snapshot(self, store: StoreDriver) -> None:
        first, *parts = subscribe_messages(store.selection, snapshot=True)
        self._snapshot_requests[self._post_request(first)] = store
        # Where everything is selected anyway, it must stay so.
        for message in [] if self._subscribed.everything else parts:
            self._post_request(message)

    def snapshot_receiver(self, message: Mapping[str, Any]) -> tuple[bool, StoreDriver | None]:
        store = self._snapshot_requests.pop(str(message.get("requestId")), None)
        return store is not None, store

    def is_waiting_for(self, selection: Selection) -> bool:
        return not selection.is_empty

    # ------------------------------------------- what happens to the connection

    def opened(self) -> None:
        self._is_open = True
        self._requests.connected()

    def disconnected(self, error: FlagentError, is_final: bool) -> None:
        self._is_open = False
        if is_final:
            self._requests.close(error)
        else:
            self._requests.connection_lost(error)

    async def probe(self) -> None:
        socket = await self._open()
        try:
            await socket.send(json.dumps({"type": "ping", "requestId": "probe"}))
            await asyncio.wait_for(socket.recv(), self._host._connect_timeout)
        except asyncio.TimeoutError as cause:
            raise ConnectionLost("no byte came through the WebSocket", kind="silent") from cause
        except ConnectionClosed as cause:
            raise _close_error(cause) from cause
        finally:
            await socket.close()


def _close_error(cause: ConnectionClosed) -> ConnectionLost | ConnectionRefused:
    code = 1006 if cause.rcvd is None else cause.rcvd.code
    reason = "" if cause.rcvd is None else cause.rcvd.reason
    text = f"closed with code {code}" + (f": {reason}" if reason else "")
    if close_code_outcome(code) is Outcome.FATAL:
        return ConnectionRefused(text, close_code=code)
    return ConnectionLost(text, close_code=code)
