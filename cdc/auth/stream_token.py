"""Stream tokens: short-lived credentials that a browser may put into a URL.

A token is signed (HMAC-SHA-256) with the installation's secret, so every server of a database accepts it. It is valid
for one minute and opens one stream. Each process remembers the tokens used there, and nothing is written to the
database: within its minute a stolen token could open one more stream in each other process.
"""

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.errors import InvalidInput
from ..core.subscription.grant import Grant
from ..errors import Unauthorized
from .identity import Identity

__all__ = ["LIFETIME_S", "TOKEN_PREFIX", "StreamToken", "StreamTokenIssuer"]

TOKEN_PREFIX = "fla_st_"  # noqa: S105 - how a token begins
LIFETIME_S = 60.0

# A grant may contain a thousand names, and the whole token must fit into a URL.
MAX_TOKEN_CHARACTERS = 16 * 1024


@dataclass(frozen=True, slots=True)
class StreamToken:
    """A verified token; `holder` has the rights of the client that requested it, and its API key as `key_id`."""

    id: str
    ends_at: float
    holder: Identity


class StreamTokenIssuer:
    """Issues and verifies tokens, and remembers the used ones until they expire."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._used: dict[str, float] = {}

    def issue(self, identity: Identity, now: float) -> tuple[str, float]:
        """A token for one stream of `identity`, and when it expires; raises `InvalidInput` if its grant is too long."""
        ends_at = now + LIFETIME_S if identity.expires_at is None else min(now + LIFETIME_S, identity.expires_at)
        claims: dict[str, Any] = {"i": secrets.token_urlsafe(12), "e": ends_at, "n": identity.name}
        if identity.key_id is not None:
            # The grant is looked up by its key, which may be revoked in the meantime.
            claims["k"] = identity.key_id
        else:
            claims["g"] = identity.grant.to_json()
        if identity.expires_at is not None:
            claims["x"] = identity.expires_at
        body = _encode(json.dumps(claims, separators=(",", ":")).encode())
        token = f"{TOKEN_PREFIX}{body}.{self._sign(body)}"
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise InvalidInput("the scopes of this credential are too long for a stream token", code="token_too_long")
        return token, ends_at

    def read(self, text: str, now: float) -> StreamToken:
        """Verify a token, without using it up; raises `Unauthorized`."""
        body, _, signature = text.removeprefix(TOKEN_PREFIX).partition(".")
        # Bytes, because compare_digest rejects text that is not ASCII.
        is_signed = hmac.compare_digest(signature.encode(), self._sign(body).encode())
        if not text.startswith(TOKEN_PREFIX) or len(text) > MAX_TOKEN_CHARACTERS or not is_signed:
            raise Unauthorized("invalid stream token", code="invalid_credential")
        claims = _decode(body)
        if claims["e"] <= now:
            raise Unauthorized("this stream token has expired; request a new one", code="credential_expired")
        if claims["i"] in self._used:
            raise Unauthorized("this stream token was already used; request a new one", code="token_used")
        holder = Identity(claims["n"], Grant.parse(claims.get("g", {})), claims.get("k"), claims.get("x"), True)
        return StreamToken(claims["i"], claims["e"], holder)

    def use_up(self, token: StreamToken, now: float) -> None:
        """Reject this token from now on, in this process."""
        for id in [id for id, ends_at in self._used.items() if ends_at <= now]:
            del self._used[id]
        self._used[token.id] = token.ends_at

    def _sign(self, body: str) -> str:
        return _encode(hmac.digest(self._secret, f"stream-token:{body}".encode(), hashlib.sha256))


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(body: str) -> Mapping[str, Any]:
    # The body is one that a server signed, perhaps of another version.
    try:
        claims: Mapping[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (binascii.Error, ValueError) as error:
        raise Unauthorized("invalid stream token", code="invalid_credential") from error
    return claims
