"""What a stream token says, as it is written into one: JSON in base64url."""

import base64
import binascii
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..core.errors import InvalidInput
from ..core.subscription.grant import Grant
from ..errors import Unauthorized

__all__ = ["Claims", "StreamTokenLimits", "decode_claims", "encode_bytes", "encode_claims"]

# A name has up to 64 characters of another system, each perhaps written as ten.
_MAX_TEXT = 1024


@dataclass(frozen=True, slots=True)
class StreamTokenLimits:
    """What narrows a token: `scopes` in addition to those of the credential, the one `path` that it opens, and the one
    `origin` whose pages may use it, in lower case as a browser sends it. None does not narrow."""

    scopes: Grant | None = None
    path: str | None = None
    origin: str | None = None


@dataclass(frozen=True, slots=True)
class Claims:
    """`key_id` is the API key behind the token; without one, `limits.scopes` is all that it allows.

    `ends_at` is the end of the token, `credential_ends_at` that of the credential behind it and so of the stream, None
    for a key that never expires. Both are in seconds since the epoch.
    """

    id: str
    ends_at: float
    name: str
    key_id: int | None
    credential_ends_at: float | None
    limits: StreamTokenLimits = field(default_factory=StreamTokenLimits)


def encode_claims(claims: Claims) -> str:
    scopes = claims.limits.scopes
    named = {
        "i": claims.id,
        "e": claims.ends_at,
        "n": claims.name,
        "k": claims.key_id,
        "x": claims.credential_ends_at,
        "g": None if scopes is None else scopes.to_json(),
        "p": claims.limits.path,
        "o": claims.limits.origin,
    }
    written = {name: value for name, value in named.items() if value is not None}
    return encode_bytes(json.dumps(written, separators=(",", ":")).encode())


def decode_claims(body: str) -> Claims:
    """The claims of a signed body; raises `Unauthorized` unless each has the form in which it is issued.

    A token must name a key or an end of the credential behind it: otherwise its stream would never end.
    """
    try:
        return _read(json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))))
    except (binascii.Error, ValueError, OverflowError, RecursionError) as error:
        raise Unauthorized("invalid stream token", code="invalid_credential") from error


def _read(raw: object) -> Claims:
    if not isinstance(raw, Mapping):
        raise InvalidInput("the claims must be an object")
    scopes = Grant.parse(raw["g"]) if "g" in raw else None
    id, name, ends_at = _text(raw, "i"), _text(raw, "n"), _time(raw, "e")
    key_id, credential_ends_at = raw.get("k"), _time(raw, "x")
    if id is None or name is None or ends_at is None:
        raise InvalidInput("a claim is missing")
    if key_id is not None and (not isinstance(key_id, int) or isinstance(key_id, bool)):
        raise InvalidInput("the key must be a whole number")
    if key_id is None and (credential_ends_at is None or scopes is None):
        raise InvalidInput("without a key, a token must say what it allows and when that ends")
    limits = StreamTokenLimits(scopes, _text(raw, "p"), _text(raw, "o"))
    return Claims(id, ends_at, name, key_id, credential_ends_at, limits)


def _text(raw: Mapping[str, Any], name: str) -> str | None:
    value = raw.get(name)
    if value is not None and (not isinstance(value, str) or not 0 < len(value) <= _MAX_TEXT):
        raise InvalidInput(f"{name} must be a text")
    return value


def _time(raw: Mapping[str, Any], name: str) -> float | None:
    value = raw.get(name)
    # JSON in Python has NaN, which no comparison with a time finds expired, and whole numbers beyond a double.
    if value is not None and (
        not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(float(value))
    ):
        raise InvalidInput(f"{name} must be a time")
    return None if value is None else float(value)


def encode_bytes(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
