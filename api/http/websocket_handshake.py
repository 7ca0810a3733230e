"""The handshake of a WebSocket (RFC 6455, section 4.2.1), and requests that miss it: each gets a problem with a reason.

uvicorn and `websockets` answer these with a bare status, or with their own text.
"""

import base64
import binascii
from collections.abc import Iterable

from websockets.exceptions import InvalidHeader
from websockets.headers import parse_extension, parse_subprotocol

from .problem import Problem

__all__ = ["check_handshake", "is_key", "upgrade_required", "wrong_address"]

_VERSION = b"13"

# What a request has to be made with; RFC 9110, section 15.5.22, asks for both fields.
_UPGRADE = ((b"upgrade", b"websocket"), (b"connection", b"upgrade"), (b"sec-websocket-version", _VERSION))

_LISTS = {b"sec-websocket-extensions": parse_extension, b"sec-websocket-protocol": parse_subprotocol}


def check_handshake(method: str, http_version: str, headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Raises `Problem` for an upgrade to a WebSocket that cannot become one."""
    if method != "GET":
        raise Problem(
            405, "method_not_allowed", "a WebSocket handshake is a GET request", more_headers=((b"allow", b"GET"),)
        )
    if http_version != "1.1":
        raise _invalid("a WebSocket handshake needs HTTP/1.1")
    found: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        if name == b"transfer-encoding" or (name == b"content-length" and value.strip() != b"0"):
            # `websockets` raises for it, and uvicorn then answers nothing.
            raise _invalid("a WebSocket handshake has no body")
        if name.startswith(b"sec-websocket-"):
            found.setdefault(name, []).append(value.strip())
    if found.get(b"sec-websocket-version") != [_VERSION]:
        raise Problem(
            426,
            "unsupported_websocket_version",
            "this server supports version 13 of the WebSocket protocol only (RFC 6455)",
            more_headers=_UPGRADE,
        )
    keys = found.get(b"sec-websocket-key", [])
    if len(keys) != 1 or not is_key(keys[0]):
        raise _invalid("a WebSocket handshake has one Sec-WebSocket-Key, of 16 bytes in base64")
    try:
        for name, parse in _LISTS.items():
            if name in found:
                parse(b", ".join(found[name]).decode("latin-1"))
    except InvalidHeader as error:
        raise _invalid(f"{error.name} cannot be parsed") from error


def upgrade_required(path: str) -> Problem:
    """The answer to an ordinary request at the address of the WebSocket."""
    return Problem(
        426,
        "upgrade_required",
        f"{path} is a WebSocket; connect to it as ws:// or wss://. If the client did, a proxy in between does not "
        "forward Upgrade and Connection",
        more_headers=_UPGRADE,
    )


def wrong_address(path: str, websocket_path: str | None, *, is_stream: bool) -> Problem:
    """The answer to a handshake at another address; `is_stream` if an event stream (SSE) is there."""
    where = "WebSockets are disabled on this server" if websocket_path is None else f"connect to {websocket_path}"
    what = f"{path[:200]} is an event stream (SSE), not a WebSocket" if is_stream else f"no WebSocket at {path[:200]}"
    return Problem(404, "not_found", f"{what}; {where}")


def _invalid(detail: str) -> Problem:
    return Problem(400, "invalid_handshake", detail)


def is_key(value: bytes) -> bool:
    """Whether a value is one of `Sec-WebSocket-Key`: 16 bytes in base64."""
    try:
        return len(base64.b64decode(value, validate=True)) == 16
    except binascii.Error:
        return False
