"""Reading a request's body within a bound."""

from fastapi import Request
from starlette.requests import ClientDisconnect

from .problem import Problem

__all__ = ["read_body"]

MAX_BODY_BYTES = 1024 * 1024


async def read_body(request: Request) -> bytes:
    """The whole body; raises `Problem` where it is larger than a mebibyte, without having read it all."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise Problem(413, "body_too_large", f"the body is larger than {MAX_BODY_BYTES} bytes")
    except ClientDisconnect as error:
        # Nobody is there to read it; but it is the client's doing, and no failure of the server.
        raise Problem(400, "body_incomplete", "the connection ended before the whole body had come") from error
    return bytes(body)
