"""The client of the WebSocket."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.protocol import State

from ._client import Plan, RealtimeClient
from ._evaluation import ContextValue, EvaluationResult
from ._http import key_headers, refusal
from ._policy import Outcome, judge_close, judge_status, resolve_redirect
from ._selection import Selection
from .errors import ConnectionLost, FlagentError, ProtocolError, Refused, RequestFailed
from .subscriptions import Subscription

if TYPE_CHECKING:
    from .store import FlagStore

__all__ = ["FlagentWebSocketClient"]

CLOSE_TIMEOUT_S = 1.0


class _Connection(ClientConnection):
    """Waits no longer than the close timeout for a peer that said goodbye to also close the socket."""

    _abort_handle: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.state is State.CLOSING and self._abort_handle is None:
            self._abort_handle = self.loop.call_later(CLOSE_TIMEOUT_S, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._abort_handle is not None:
            self._abort_handle.cancel()
        super().connection_lost(exc)


class _Connect(connect):
    """Follows no redirect by itself: the key must not go to another origin."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class FlagentWebSocketClient(RealtimeClient):
    """Live events and evaluation over one WebSocket: ``FlagentWebSocketClient("wss://host/ws", api_key=…)``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._outbox: deque[dict[str, Any]] = deque()
        self._outbox_filled = asyncio.Event()
        self._requests: dict[str, asyncio.Future[Mapping[str, Any]]] = {}
        self._snapshot_requests: dict[str, FlagStore] = {}
        self._primary_request: str | None = None
        self._catch_up_request: str | None = None
        self._sent = Selection()
        self._count = 0
        self._waiters: list[asyncio.Future[None]] = []

    # ---------------------------------------------------------- the interface

    def subscribe(
        self, flag_key: str, handler: Callable[..., Any], on_deleted: Callable[..., Any] | None = None
    ) -> Subscription:
        """The same as :meth:`subscribe_flag`."""
        return self.subscribe_flag(flag_key, handler, on_deleted)

    async def evaluate(
        self,
        flag_key: str | None = None,
        entity_id: str | None = None,
        entity_context: Mapping[str, ContextValue] | None = None,
        *,
        flag_id: int | None = None,
        entity_type: str | None = None,
        enable_debug: bool = False,
        min_position: str | int | None = None,
        timeout: float = 5.0,
    ) -> EvaluationResult:
        """Let the server evaluate a flag; waits for a connection where there is none.

        ``min_position``: the server answers from a state at least as new. Raises :exc:`RequestFailed` with the
        server's code, :exc:`ConnectionLost` also when *timeout* seconds are over, :exc:`ClientClosed`.
        """
        answer = await self._ask(
            {
                "type": "evaluate",
                "flagKey": flag_key,
                "flagID": flag_id,
                "entityID": entity_id,
                "entityType": entity_type,
                "entityContext": None if entity_context is None else dict(entity_context),
                "enableDebug": enable_debug or None,
                "minPosition": None if min_position is None else str(min_position),
            },
            timeout,
        )
        result = answer.get("result")
        if not isinstance(result, dict):
            raise ProtocolError("an evaluation result carries no result")
        return EvaluationResult.from_json(result)

    async def evaluate_batch(
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
        """Let the server evaluate several flags for several entities (``entityID``, ``entityType``, …)."""
        answer = await self._ask(
            {
                "type": "evaluate_batch",
                "entities": [dict(entity) for entity in entities],
                "flagKeys": list(flag_keys) or None,
                "flagIDs": list(flag_ids) or None,
                "flagTags": list(flag_tags) or None,
                "flagTagsOperator": flag_tags_operator,
                "enableDebug": enable_debug or None,
                "minPosition": None if min_position is None else str(min_position),
            },
            timeout,
        )
        results = answer.get("results")
        if not isinstance(results, list):
            raise ProtocolError("an evaluation result carries no results")
        return [EvaluationResult.from_json(result) for result in results if isinstance(result, dict)]

    async def _ask(self, message: dict[str, Any], timeout: float) -> Mapping[str, Any]:
        """Send a request and wait for the answer of the same ``requestId``."""
        try:
            return await asyncio.wait_for(self._ask_when_connected(message), timeout)
        except asyncio.TimeoutError:
            raise ConnectionLost(f"no answer within {timeout:g} s") from None

    async def _ask_when_connected(self, message: dict[str, Any]) -> Mapping[str, Any]:
        if self.failure is not None:
            raise self.failure
        if not self.is_connected:
            self._waiters.append(waiter := asyncio.get_running_loop().create_future())
            await waiter
        request_id = self._post_request({name: value for name, value in message.items() if value is not None})
        future: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        self._requests[request_id] = future
        try:
            return await future
        finally:
            self._requests.pop(request_id, None)

    # ------------------------------------------------------------ the session

    async def _session(self, plan: Plan) -> None:
        self._outbox.clear()
        self._snapshot_requests.clear()
        self._sent = Selection()
        socket = await self._open()
        sender = asyncio.create_task(self._send(socket), name="flagent-sender")
        try:
            self._opened()
            self._make_plan()  # once more: subscriptions and stores may have come while connecting
            self._subscribe_first()
            while True:
                await self._frame(await socket.recv())
        except ConnectionClosed as cause:
            raise _closed(cause) from cause
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
            if self._session_end is not None:
                socket.transport.abort()
            await socket.close()

    async def _open(self) -> ClientConnection:
        url, key, hop, asked_again = self.url, await self._key(), 0, False
        while True:
            try:
                return await _Connect(
                    url,
                    additional_headers=key_headers(key),
                    ssl=(self._ssl_context or True) if url.startswith("wss:") else None,
                    open_timeout=self._connect_timeout,
                    close_timeout=CLOSE_TIMEOUT_S,
                    # Silence is watched by the heartbeats of the protocol; a ping would not be answered, and so break
                    # the connection, while a slow handler keeps the socket unread.
                    ping_interval=None,
                    max_size=self._max_message_bytes,
                    create_connection=_Connection,
                )
            except InvalidStatus as cause:
                response = cause.response
                if judge_status(response.status_code) is Outcome.REDIRECT:
                    hop += 1
                    target = resolve_redirect(url, response.headers.get("Location"), hop)
                    if target is None:
                        raise Refused("a redirect cannot be followed", status=response.status_code) from cause
                    url, key = target[0], key if target[1] else None
                elif response.status_code == 401 and callable(self._api_key) and not asked_again:
                    asked_again, key = True, await self._key()
                elif judge_status(response.status_code) is Outcome.STREAM:
                    raise ConnectionLost("the server does not speak WebSocket here", status=200) from cause
                else:
                    raise refusal(response.status_code, response.headers) from cause
            except InvalidURI as cause:
                raise Refused(f"{url!r} is no WebSocket address") from cause
            except (OSError, asyncio.TimeoutError, InvalidHandshake, EOFError, ConnectionClosed) as cause:
                raise ConnectionLost(f"cannot connect: {type(cause).__name__}") from cause

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

    async def _frame(self, frame: str | bytes) -> None:
        if isinstance(frame, bytes):
            self._report(ProtocolError("a frame is binary"))
            return
        try:
            message = json.loads(frame)
        except (ValueError, RecursionError) as cause:
            error = ProtocolError("a frame is not JSON")
            error.__cause__ = cause
            self._report(error)
            return
        if not isinstance(message, dict):
            self._report(ProtocolError("a frame is not an object"))
            return
        if message.get("type") == "pong" and message.get("requestId") == self._catch_up_request:
            await self._accept({"type": "caught_up"})
        elif not self._answered(message):
            await self._accept(message)

    def _answered(self, message: Mapping[str, Any]) -> bool:
        """Hand an answer to who asked; whether that was all there is to do."""
        kind, request_id = message.get("type"), message.get("requestId")
        request_id = request_id if isinstance(request_id, str) else None
        if kind in ("evaluation_result", "pong"):
            future = self._requests.get(request_id or "")
            if future is not None and not future.done():
                future.set_result(message)
        elif kind == "error":
            self._refused(request_id, RequestFailed(str(message.get("code")), str(message.get("message"))))
        elif kind not in ("unsubscribed", "subscribed") or (kind == "subscribed" and not self._is_greeted):
            return False
        self._liveness.message(self._clock.now())
        return True

    def _refused(self, request_id: str | None, error: RequestFailed) -> None:
        future = self._requests.get(request_id or "")
        if future is not None:
            if not future.done():
                future.set_exception(error)
            return
        self._report(error)
        store = self._snapshot_requests.pop(request_id or "", None)
        if store is not None:
            store._request_refused()
        if request_id is not None and request_id == self._primary_request:
            self._drop(f"the subscription was refused: {error}")

    # ---------------------------------------------------------- subscriptions

    def _subscribe_first(self) -> None:
        plan = self._plan
        self._primary_request = None
        if plan.selection.is_empty:
            return
        message: dict[str, Any] = {"type": "subscribe", **plan.selection.to_message()}
        if plan.last_event_id is not None:
            message["lastEventId"] = plan.last_event_id
        elif plan.snapshot:
            message["snapshot"] = True
        self._sent = plan.selection
        self._primary_request = self._post_request(message)
        # The server answers in order, and only once a subscriber is live: this pong says that the replay has ended.
        self._catch_up_request = None if plan.last_event_id is None else self._post_request({"type": "ping"})

    def _selection_changed(self) -> None:
        if not self.is_connected or self._session_end is not None:
            return
        if self._sent.is_empty:
            self._make_plan()
            self._subscribe_first()
            return
        wanted = self._selection()
        if (wanted.types, wanted.schemas) != (self._sent.types, self._sent.schemas):
            self._restart()
            return
        added, removed = wanted.minus(self._sent), self._sent.minus(wanted)
        if not added.is_empty:
            self._post_request({"type": "subscribe", **added.to_message()})
        if wanted.is_empty:
            self._post_request({"type": "unsubscribe"})
        elif not removed.is_empty:
            self._post_request({"type": "unsubscribe", **removed.to_message()})
        self._sent = wanted

    def _request_snapshot(self, store: FlagStore) -> None:
        message = {"type": "subscribe", **store.selection.to_message(), "snapshot": True}
        self._snapshot_requests[self._post_request(message)] = store

    def _snapshot_receivers(self, message: Mapping[str, Any]) -> list[FlagStore]:
        store = self._snapshot_requests.pop(str(message.get("requestId")), None)
        if store is not None:
            return [store] if store in self._stores else []
        return super()._snapshot_receivers(message)

    # ------------------------------------------------------------------ state

    def _opened(self) -> None:
        super()._opened()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _disconnected(self, error: FlagentError) -> None:
        super()._disconnected(error)
        for future in self._requests.values():
            if not future.done():
                future.set_exception(error)
        if self._is_closed or self.failure is not None:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_exception(error)


def _closed(cause: ConnectionClosed) -> ConnectionLost | Refused:
    code = 1006 if cause.rcvd is None else cause.rcvd.code
    reason = "" if cause.rcvd is None else cause.rcvd.reason
    text = f"closed with code {code}" + (f": {reason}" if reason else "")
    if judge_close(code) is Outcome.FATAL:
        return Refused(text, close_code=code)
    return ConnectionLost(text, close_code=code)
