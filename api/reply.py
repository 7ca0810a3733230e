"""Sending a whole response through ASGI without a framework in between."""

import json
from typing import Any

from starlette.types import Send

from .problem import Problem

__all__ = ["send_json", "send_problem"]


async def send_problem(send: Send, problem: Problem) -> None:
    await _send(send, problem.status, problem.headers(), problem.body())


async def send_json(send: Send, status: int, document: Any) -> None:
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    await _send(send, status, [(b"content-type", b"application/json"), (b"cache-control", b"no-store")], body)


async def _send(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
