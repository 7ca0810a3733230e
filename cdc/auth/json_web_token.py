"""JSON Web Tokens: verified with the configured keys, and read into a grant.

The key decides the algorithm, never the token: an HMAC secret verifies HS256 and HS512 only, an RSA key RS256, a P-256
key ES256. A public key is therefore never used as a secret, and `none` is rejected. A token must expire.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from ..core.errors import InvalidInput
from ..core.subscription.grant import Grant
from ..errors import Unauthorized
from ..filters.compiler import claim_paths
from .identity import Identity

__all__ = ["JwtRules", "JwtVerifier", "VerificationKey", "public_key", "read_jwks", "secret_key"]

# Clocks differ: a token is valid this much before its `nbf` and after its `exp`.
LEEWAY_S = 5

MAX_TOKEN_CHARACTERS = 8 * 1024

MIN_RSA_BITS = 2048
MIN_SECRET_BYTES = 32

# Verifying a signature takes 50 to 100 microseconds, and a client that reconnects sends the same token.
_REMEMBERED = 10_000

_MAX_JWKS_KEYS = 100


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A key and the algorithms that it verifies; `id` is its `kid`, None if it has none."""

    key: Any
    algorithms: tuple[str, ...]
    id: str | None = None


@dataclass(frozen=True, slots=True)
class JwtRules:
    """What a token must contain. `claim` holds its scopes; without that claim it gets `default_scopes`, or is rejected
    if those are None."""

    audience: str | None = None
    issuer: str | None = None
    claim: str = "flagent_cdc"
    default_scopes: Grant | None = None


def secret_key(secret: str) -> VerificationKey:
    """An HMAC secret as a key; raises `ValueError` if it is too short, or is a PEM key."""
    if len(secret.encode()) < MIN_SECRET_BYTES:
        raise ValueError(f"an HMAC secret needs at least {MIN_SECRET_BYTES} bytes")
    if "-----BEGIN" in secret:
        raise ValueError("a PEM key is not an HMAC secret")
    return VerificationKey(secret, ("HS256", "HS512"))


def public_key(pem: str) -> VerificationKey:
    """A PEM public key; raises `ValueError` unless it is an RSA key of at least 2048 bits or a P-256 key."""
    return _verification_key(load_pem_public_key(pem.encode()), None)


def read_jwks(document: object) -> tuple[VerificationKey, ...]:
    """The keys of a JWK Set (RFC 7517) that can verify; others are skipped. Raises `ValueError` if none can."""
    entries = document.get("keys") if isinstance(document, Mapping) else None
    if not isinstance(entries, list) or len(entries) > _MAX_JWKS_KEYS:
        raise ValueError(f"a JWK Set must be an object with a list of at most {_MAX_JWKS_KEYS} keys")
    keys = [key for entry in entries if (key := _read_jwk(entry)) is not None]
    if not keys:
        raise ValueError(f"the JWK Set has no signature key: an RSA key of at least {MIN_RSA_BITS} bits or a P-256 key")
    return tuple(keys)


def _read_jwk(entry: object) -> VerificationKey | None:
    # Symmetric keys do not belong in a public document and are skipped.
    if not isinstance(entry, Mapping) or entry.get("kty") not in ("RSA", "EC") or entry.get("use", "sig") != "sig":
        return None
    algorithm = "RS256" if entry["kty"] == "RSA" else "ES256"
    if entry.get("alg", algorithm) != algorithm or "d" in entry:
        return None
    kid = entry.get("kid")
    try:
        return _verification_key(jwt.PyJWK(dict(entry), algorithm).key, kid if isinstance(kid, str) else None)
    except (jwt.PyJWTError, ValueError):
        return None


def _verification_key(key: object, id: str | None) -> VerificationKey:
    if isinstance(key, RSAPublicKey) and key.key_size >= MIN_RSA_BITS:
        return VerificationKey(key, ("RS256",), id)
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return VerificationKey(key, ("ES256",), id)
    raise ValueError(f"the key must be an RSA key of at least {MIN_RSA_BITS} bits or a P-256 key")


class JwtVerifier:
    """Verifies tokens with its present keys."""

    def __init__(self, rules: JwtRules, keys: Sequence[VerificationKey] = ()) -> None:
        self._rules = rules
        self._keys = tuple(keys)
        self._remembered: dict[bytes, Identity] = {}
        self.misses_key = False

    def use(self, keys: Sequence[VerificationKey]) -> None:
        """Replace the keys."""
        self._keys = tuple(keys)
        self._remembered.clear()
        self.misses_key = False

    def verify(self, text: str, now: float) -> Identity:
        """The holder of a token; raises `Unauthorized`. Sets `misses_key` if the token names an unknown key."""
        digest = hashlib.sha256(text.encode("utf-8", "replace")).digest()
        identity = self._remembered.get(digest)
        if identity is None:
            identity = self._identity(self._claims(text))
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            self._remembered[digest] = identity
        if identity.expires_at is not None and identity.expires_at <= now:
            raise Unauthorized("this token has expired", code="credential_expired")
        return identity

    def _claims(self, text: str) -> Mapping[str, Any]:
        rejected = Unauthorized("invalid token", code="invalid_credential")
        if len(text) > MAX_TOKEN_CHARACTERS:
            raise rejected
        try:
            header = jwt.get_unverified_header(text)
        except jwt.PyJWTError as error:
            raise rejected from error
        algorithm, kid = header.get("alg"), header.get("kid")
        candidates = [
            key for key in self._keys if algorithm in key.algorithms and (key.id == kid or None in (key.id, kid))
        ]
        if not candidates and isinstance(kid, str):
            self.misses_key = True
        for key in candidates:
            try:
                claims: Mapping[str, Any] = jwt.decode(
                    text,
                    key.key,
                    algorithms=[str(algorithm)],
                    audience=self._rules.audience,
                    issuer=self._rules.issuer,
                    leeway=LEEWAY_S,
                    options={"require": ["exp"]},
                )
            except jwt.InvalidSignatureError:
                continue
            except jwt.ExpiredSignatureError as error:
                raise Unauthorized("this token has expired", code="credential_expired") from error
            except jwt.PyJWTError as error:
                raise rejected from error
            return claims
        raise rejected

    def _identity(self, claims: Mapping[str, Any]) -> Identity:
        rules = self._rules
        if rules.claim in claims:
            try:
                grant = Grant.parse(claims[rules.claim]).with_claims(claims, claim_paths)
            except InvalidInput as error:
                raise Unauthorized("the scopes in this token cannot be read", code="invalid_scopes") from error
        elif rules.default_scopes is not None:
            grant = rules.default_scopes.with_claims(claims, claim_paths)
        else:
            raise Unauthorized("this token has no scopes for flagent-cdc", code="no_scopes")
        subject = str(claims.get("sub", ""))[:64]
        return Identity(f"token of {subject!r}", grant, expires_at=float(claims["exp"]) + LEEWAY_S)
