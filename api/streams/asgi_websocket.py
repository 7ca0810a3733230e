"""WebSockets through ASGI, for servers that cannot hand connections over."""

import asyncio

from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from cdc.core.wire.dialect import MESSAGES
from cdc.core.wire.format import Format

from ..http.problem import Problem
from ..http.problem_response import send_problem
from .asgi_sink import AsgiSink
from .gateway import REFUSAL, Gateway
from .websocket_evaluation import Evaluator
from .websocket_session import Session

__all__ = ["WebSocketEndpoint", "deny_websocket"]

_DENIAL = "websocket.http.response"


class WebSocketEndpoint:
    """The ASGI application of the WebSocket path; a handshake it refuses is answered with a problem."""

    def __init__(self, gateway: Gateway, evaluator: Evaluator | None = None) -> None:
        self._gateway = gateway
        self._evaluator = evaluator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if (refusal := scope.get(REFUSAL)) is not None:
                raise refusal
            opening = self._gateway.admit_websocket(scope["path"], scope["query_string"], scope["headers"])
        except Problem as problem:
            self._gateway.count_refusal("websocket", problem)
            await deny_websocket(scope, receive, send, problem)
            return
        websocket = WebSocket(scope, receive, send)
        sink = AsgiSink()
        may_read = asyncio.Event()
        may_read.set()
        session = Session(
            self._gateway.pipelines,
            sink,
            Format(MESSAGES, is_framed=False),
            stop_reading=may_read.clear,
            resume_reading=may_read.set,
            authenticated=opening.authenticated,
            authentication=self._gateway.authentication,
            credential_expiry=self._gateway.credential_expiry,
            evaluator=self._evaluator,
        )
        sink.subscriber = session.subscriber
        try:
            await websocket.accept(subprotocol=opening.subprotocol)
            self._gateway.begin_websocket(opening, session.subscriber)
            async with asyncio.TaskGroup() as tasks:
                reader = tasks.create_task(_read(websocket, session, sink, may_read))
                await _write(websocket, sink)
                reader.cancel()
        finally:
            session.close()
            self._gateway.leave(session.subscriber, session.pipeline)


async def _read(websocket: WebSocket, session: Session, sink: AsgiSink, may_read: asyncio.Event) -> None:
    while True:
        await may_read.wait()
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            sink.disconnect()
            return
        text = message.get("text")
        session.begin_turn()
        session.receive(message["bytes"] if text is None else text)
        session.end_turn()
        # Where more has arrived already, neither `receive` waits.
        await asyncio.sleep(0)


async def _write(websocket: WebSocket, sink: AsgiSink) -> None:
    try:
        begun: list[bytes] = []
        async for chunk in sink.chunks():
            # A message is one line of JSON; a long one arrives in several chunks.
            *lines, rest = chunk.split(b"\n")
            for line in lines:
                begun.append(line)
                await websocket.send_text(b"".join(begun).decode())
                begun.clear()
            begun.append(rest)
        if sink.closed_for is not None:
            await websocket.close(sink.closed_for.value, sink.close_text[:120])
    except (WebSocketDisconnect, RuntimeError):
        # The client disconnected during a send; starlette raises either of these.
        return


async def deny_websocket(scope: Scope, receive: Receive, send: Send, problem: Problem) -> None:
    """Answer a handshake with a problem, where the ASGI server can; otherwise with a bare 403."""
    await receive()
    if _DENIAL in scope.get("extensions", {}):
        await send_problem(_as_denial(send), problem)
    else:
        await send({"type": "websocket.close", "code": 1013, "reason": problem.detail[:120]})


def _as_denial(send: Send) -> Send:
    async def denial(message: object) -> None:
        assert isinstance(message, dict)
        await send({**message, "type": "websocket." + message["type"]})

    return denial
