"""Reading a request's body within a bound."""

from fastapi import Request

from .problem import Problem

__all__ = ["read_body"]

MAX_BODY_BYTES = 1024 * 1024


async def read_body(request: Request) -> bytes:
    """The whole body; raises `Problem` where it is larger than a mebibyte, without having read it all."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise Problem(413, "body_too_large", f"the body is larger than {MAX_BODY_BYTES} bytes")
    return bytes(body)
