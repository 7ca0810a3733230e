"""Where in a request a credential may stand.

The first of these that is there counts: `Authorization: Bearer`, `X-API-Key`, a WebSocket subprotocol, the query's
stream token, the cookie. The cookie comes last because a browser sends it unasked, also when the page has sent another.
"""

import base64
import binascii
from collections.abc import Sequence
from urllib.parse import parse_qsl

from ..http.problem import Problem

__all__ = ["SUBPROTOCOL", "TOKEN_PARAMETER", "lasting_credential", "query_token"]

Headers = Sequence[tuple[bytes, bytes]]

SUBPROTOCOL = "flagent.v1"
"""What a client offers beside its key, and what the server answers: the key itself is never sent back."""

_KEY_SUBPROTOCOL = b"flagent.key."

TOKEN_PARAMETER = "token"  # noqa: S105 - a parameter's name


def lasting_credential(headers: Headers, cookie_name: str | None) -> str | None:
    """An API key or a JSON Web Token from the headers; None where there is none. Without a name no cookie is read."""
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
    """The stream token of an address; raises `Problem` where it is no readable text."""
    if b"token=" not in query:
        return None
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=2_000)
    except ValueError as error:
        raise Problem(
            400, "invalid_query", "the query string is not valid UTF-8 in percent encoding, or too long"
        ) from error
    return next((value for name, value in pairs if name == TOKEN_PARAMETER), None)


def _text(value: bytes) -> str:
    return value.strip().decode("latin-1")


def _decode(encoded: bytes) -> str:
    """A key from a subprotocol; what is no base64url is an unknown key like any other."""
    try:
        return base64.urlsafe_b64decode(encoded + b"=" * (-len(encoded) % 4)).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return ""
