"""Request bodies of limited size."""

from fastapi import Request
from starlette.requests import ClientDisconnect

from .problem import Problem

__all__ = ["read_body"]

MAX_BODY_BYTES = 1024 * 1024


async def read_body(request: Request) -> bytes:
    """The whole body; raises `Problem` beyond one mebibyte, without reading the rest."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise Problem(413, "body_too_large", f"the request body exceeds {MAX_BODY_BYTES} bytes")
    except ClientDisconnect as error:
        # The client cannot read the response any more, but this way the log has no error of the server.
        raise Problem(400, "body_incomplete", "the connection closed before the whole body arrived") from error
    return bytes(body)
