"""A typical implementation: FastAPI, a queue per client, and the JSON encoded again for each client.

`python -m bench.fanout.naive sse|ws PORT CONTROL_PORT`. SSE is sse-starlette, WebSocket is FastAPI's own with
`send_text`; each client has an `asyncio.Queue`, so that a slow client does not delay the others. uvicorn has
flagent-cdc's configuration: asyncio's loop, httptools, the sans-I/O WebSocket implementation. Events arrive as JSON on
the control port.
"""

import asyncio
import json
import struct
import sys
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect
from sse_starlette import EventSourceResponse, ServerSentEvent

QUIET_S = 3600


def sse_app() -> tuple[FastAPI, Any]:
    app = FastAPI()
    queues: set[asyncio.Queue[dict[str, Any]]] = set()

    @app.get("/stream")
    async def stream(request: Request) -> EventSourceResponse:
        async def events() -> AsyncIterator[ServerSentEvent]:
            queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
            queues.add(queue)
            try:
                while True:
                    event = await queue.get()
                    yield ServerSentEvent(json.dumps(event["flag"]), event=event["type"], id=event["id"])
            finally:
                queues.discard(queue)

        return EventSourceResponse(events(), ping=QUIET_S)

    async def publish(event: dict[str, Any]) -> None:
        for queue in queues:
            queue.put_nowait(event)

    return app, publish


def websocket_app() -> tuple[FastAPI, Any]:
    app = FastAPI()
    queues: set[asyncio.Queue[dict[str, Any]]] = set()

    @app.websocket("/stream")
    async def stream(websocket: WebSocket) -> None:
        await websocket.accept()
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        queues.add(queue)

        async def send() -> None:
            while True:
                await websocket.send_text(json.dumps(await queue.get()))

        sending = asyncio.create_task(send())
        try:
            while True:
                await websocket.receive_text()
        except WebSocketDisconnect:
            pass
        finally:
            queues.discard(queue)
            sending.cancel()

    async def publish(event: dict[str, Any]) -> None:
        for queue in queues:
            queue.put_nowait(event)

    return app, publish


async def serve(mode: str, port: int, control_port: int) -> None:
    app, publish = sse_app() if mode == "sse" else websocket_app()

    async def control(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                (length,) = struct.unpack("!I", await reader.readexactly(4))
                await publish(json.loads(await reader.readexactly(length)))
        except asyncio.IncompleteReadError:
            writer.close()

    async with await asyncio.start_server(control, "127.0.0.1", control_port):
        config = uvicorn.Config(
            app,
            host="127.0.0.1",
            port=port,
            loop="asyncio",
            http="httptools",
            ws="websockets-sansio",
            ws_ping_interval=None,
            lifespan="off",
            access_log=False,
            log_level="warning",
            backlog=4096,
            timeout_graceful_shutdown=1,
        )
        await uvicorn.Server(config).serve()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
