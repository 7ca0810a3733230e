"""Stream tokens: short-lived credentials that a browser may put into a URL.

A token is signed (HMAC-SHA-256) with a secret of the installation, so every server of a database accepts it. It is
valid for one minute and opens one stream. Each process remembers the tokens used there, and nothing is written to the
database: within its minute a stolen token could open one more stream in each other process.

A signature proves who wrote a token, not that its content is right: a server with a wrong clock signs, and so does
anyone who has read the secret. So each claim is checked when the token is read.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ..core.errors import InvalidInput
from ..core.subscription.grant import Grant
from ..errors import TooBusy, Unauthorized
from .identity import Identity
from .stream_token_claims import Claims, StreamTokenLimits, decode_claims, encode_bytes, encode_claims

__all__ = ["LIFETIME_S", "TOKEN_PREFIX", "StreamToken", "StreamTokenIssuer", "TokenSecret"]

TOKEN_PREFIX = "fla_st_"  # noqa: S105 - how a token begins
LIFETIME_S = 60.0

# Clocks of servers differ; JSON Web Tokens are given the same.
_LEEWAY_S = 5.0

# A new secret signs once every server has read it, and verifies at once.
_SPREAD_S = 5.0

# A grant may contain a thousand names, and the whole token must fit into a URL.
MAX_TOKEN_CHARACTERS = 16 * 1024

# Remembered ids take some 100 bytes each.
_MAX_USED = 100_000


@dataclass(frozen=True, slots=True)
class TokenSecret:
    """A secret of at least 32 bytes; `created_at` is in seconds since the epoch.

    `id` is 1 for the one that came with the installation; each rotation makes one with a higher id.
    """

    id: int
    secret: bytes = field(repr=False)
    created_at: float


@dataclass(frozen=True, slots=True)
class StreamToken:
    """A verified token; `holder` has the rights of the client that requested it, and its API key as `key_id`.

    `limits` narrow the token: those of its scopes apply to `holder` already where no key is behind it.
    """

    id: str
    ends_at: float
    holder: Identity
    limits: StreamTokenLimits


class StreamTokenIssuer:
    """Issues and verifies tokens, and remembers the used ones until they expire."""

    def __init__(self, token_secrets: Sequence[TokenSecret]) -> None:
        self._secrets: tuple[TokenSecret, ...] = ()
        self._used = _UsedIds()
        self.replace(token_secrets)

    def replace(self, token_secrets: Sequence[TokenSecret]) -> bool:
        """Use these secrets from now on, of which there must be one; whether there is another newest one."""
        before, self._secrets = self._secrets[:1], tuple(sorted(token_secrets, key=lambda each: -each.id))
        return self._secrets[:1] != before

    def issue(self, identity: Identity, now: float, limits: StreamTokenLimits | None = None) -> tuple[str, float]:
        """A token for one stream of `identity`, and when it expires; raises `InvalidInput` if its grant is too long.

        The token allows what both the identity and the scopes of `limits` allow.
        """
        limits = StreamTokenLimits() if limits is None else limits
        signing, ends_at = self._signing(now)
        ends_at = min(ends_at, now + LIFETIME_S)
        if identity.expires_at is not None:
            ends_at = min(ends_at, identity.expires_at)
        grant = limits.scopes
        if identity.key_id is None:
            grant = identity.grant if grant is None else identity.grant.within(grant)
        # With a key, its grant is looked up when the token is read: it may have been revoked or changed by then.
        claims = Claims(
            secrets.token_urlsafe(12),
            ends_at,
            identity.name,
            identity.key_id,
            identity.expires_at,
            StreamTokenLimits(grant, limits.path, limits.origin),
        )
        body = encode_claims(claims)
        token = f"{TOKEN_PREFIX}{body}.{_sign(signing, body)}"
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise InvalidInput("the scopes of this credential are too long for a stream token", code="token_too_long")
        return token, ends_at

    def read(self, text: str, now: float) -> StreamToken:
        """Verify a token, without using it up; raises `Unauthorized`, and `TooBusy` where too many were used."""
        if not text.startswith(TOKEN_PREFIX) or len(text) > MAX_TOKEN_CHARACTERS:
            raise Unauthorized("invalid stream token", code="invalid_credential")
        body, _, signature = text.removeprefix(TOKEN_PREFIX).partition(".")
        # Bytes, because compare_digest rejects text that is not ASCII.
        given = signature.encode("utf-8", "replace")
        if not any(hmac.compare_digest(given, _sign(each, body).encode()) for each, _ in self._valid(now)):
            raise Unauthorized("invalid stream token", code="invalid_credential")
        claims = decode_claims(body)
        if claims.ends_at <= now:
            raise Unauthorized("this stream token has expired; request a new one", code="credential_expired")
        if claims.ends_at > now + LIFETIME_S + _LEEWAY_S:
            raise Unauthorized(
                f"this stream token claims to be valid for longer than {LIFETIME_S:.0f} s", code="invalid_credential"
            )
        if self._used.has(claims.id, claims.ends_at):
            raise Unauthorized("this stream token was already used; request a new one", code="token_used")
        if self._used.is_full(now):
            raise TooBusy("too many stream tokens were used within a minute; retry in a second")
        grant = Grant() if claims.limits.scopes is None else claims.limits.scopes
        holder = Identity(claims.name, grant, claims.key_id, claims.credential_ends_at, is_stream_token=True)
        return StreamToken(claims.id, claims.ends_at, holder, claims.limits)

    def use_up(self, token: StreamToken, now: float) -> None:
        """Reject this token from now on, in this process."""
        self._used.add(token.id, token.ends_at, now)

    def _valid(self, now: float) -> Iterator[tuple[TokenSecret, float]]:
        """The secrets that verify tokens, the newest first, each with the time at which it ceases to."""
        ends_at = float("inf")
        for each in self._secrets:
            if ends_at > now:
                yield each, ends_at
            # A rotation ends all older ones, not the last one alone.
            ends_at = min(ends_at, each.created_at + LIFETIME_S)

    def _signing(self, now: float) -> tuple[TokenSecret, float]:
        valid = list(self._valid(now))
        return next(((each, ends) for each, ends in valid if each.created_at + _SPREAD_S <= now), valid[0])


class _UsedIds:
    """The ids of used tokens, by the second in which each expires: adding, finding and forgetting cost the same
    however many there are."""

    def __init__(self) -> None:
        self._seconds: dict[int, set[str]] = {}
        self._count = 0

    def has(self, id: str, ends_at: float) -> bool:
        return id in self._seconds.get(int(ends_at), ())

    def is_full(self, now: float) -> bool:
        if self._count >= _MAX_USED:
            self._forget(now)
        return self._count >= _MAX_USED

    def add(self, id: str, ends_at: float, now: float) -> None:
        second = int(ends_at)
        if second not in self._seconds:
            # At most once a second: no token ends later than a minute from now, so there are few seconds.
            self._forget(now)
        ids = self._seconds.setdefault(second, set())
        self._count += id not in ids
        ids.add(id)

    def _forget(self, now: float) -> None:
        for second in [second for second in self._seconds if second < int(now)]:
            self._count -= len(self._seconds.pop(second))


def _sign(secret: TokenSecret, body: str) -> str:
    return encode_bytes(hmac.digest(secret.secret, f"stream-token:{body}".encode("utf-8", "replace"), hashlib.sha256))
