"""Extraction of the credential from a request.

The order of precedence: `Authorization: Bearer`, `X-API-Key`, a WebSocket subprotocol, a stream token in the query, the
cookie. The cookie comes last because a browser adds it to every request, also to one with a credential from the page.
"""

import base64
import binascii
from collections.abc import Sequence

from ..http.query_string import decode_query

__all__ = ["SUBPROTOCOL", "TOKEN_PARAMETER", "header_credential", "query_token"]

Headers = Sequence[tuple[bytes, bytes]]

SUBPROTOCOL = "flagent.v1"
"""The subprotocol a client offers beside its key, and the only one the server selects: it never echoes the key."""

_KEY_SUBPROTOCOL = b"flagent.key."

TOKEN_PARAMETER = "token"  # noqa: S105 - a parameter's name


def header_credential(headers: Headers, cookie_name: str | None) -> str | None:
    """An API key or a JSON Web Token from the headers, or None. `cookie_name` None ignores cookies."""
    found: dict[str, str] = {}
    for name, value in headers:
        if name == b"authorization":
            scheme, _, rest = value.partition(b" ")
            if scheme.lower() == b"bearer":
                found.setdefault("bearer", _text(rest))
        elif name == b"x-api-key":
            found.setdefault("key", _text(value))
        elif name == b"sec-websocket-protocol":
            for offer in value.split(b","):
                if offer.strip().startswith(_KEY_SUBPROTOCOL):
                    found.setdefault("subprotocol", _decode(offer.strip().removeprefix(_KEY_SUBPROTOCOL)))
        elif name == b"cookie" and cookie_name is not None:
            for pair in value.split(b";"):
                label, _, content = pair.partition(b"=")
                if label.strip() == cookie_name.encode():
                    found.setdefault("cookie", _text(content).strip('"'))
    return next((found[place] for place in ("bearer", "key", "subprotocol", "cookie") if place in found), None)


def query_token(query: bytes) -> str | None:
    """The value of the query parameter `token`, or None; raises `Problem` for a malformed query string."""
    if b"token=" not in query:
        return None
    return next((value for name, value in decode_query(query) if name == TOKEN_PARAMETER), None)


def _text(value: bytes) -> str:
    return value.strip().decode("latin-1")


def _decode(encoded: bytes) -> str:
    """A key from a subprotocol. Invalid base64url gives the empty key, which is rejected like any unknown one."""
    try:
        return base64.urlsafe_b64decode(encoded + b"=" * (-len(encoded) % 4)).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return ""
