"""API keys: their format, and the ring that identifies their holders.

A key is `fla_cdc_<8 public characters>_<43 secret ones>`. The public part, its prefix, finds the key and is shown in
lists. The secret is 256 random bits, so a plain SHA-256 of it can be stored: 2^256 values cannot be tried.
"""

import hashlib
import hmac
import logging
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from ..core.subscription.grant import Grant
from ..errors import InvalidInput, Unauthorized
from .identity import Identity
from .key_use import KeyUseNotes

__all__ = ["KEY_PREFIX", "ApiKey", "KeyChange", "KeyRing", "NewKey", "new_key", "readable_grant"]

KeyChange = Literal["created", "changed", "revoked", "deleted"]
"""What happened to a key between two readings of all of them."""

logger = logging.getLogger(__name__)

KEY_PREFIX = "fla_cdc_"

_FORMAT = re.compile(r"(fla_cdc_[a-z2-7]{8})_[A-Za-z0-9_-]{43}", re.ASCII)
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"

# Compared with if there is no such key, so that an unknown prefix takes as long as a wrong secret.
_UNKNOWN = hashlib.sha256(b"").digest()


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is stored, without its text."""

    id: int
    name: str
    prefix: str
    hash: bytes
    grant: Grant
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None

    @property
    def is_revoked(self) -> bool:
        return self.revoked_at is not None


@dataclass(frozen=True, slots=True)
class NewKey:
    """A new key: `text` is shown once, the rest is stored."""

    text: str
    prefix: str
    hash: bytes


def new_key() -> NewKey:
    prefix = KEY_PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(8))
    text = f"{prefix}_{secrets.token_urlsafe(32)}"
    return NewKey(text, prefix, _hash(text))


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()


def readable_grant(prefix: str, scopes: object) -> Grant:
    """The grant of a key's scopes; one that allows nothing if this version cannot read them."""
    try:
        return Grant.parse(scopes)
    except InvalidInput as error:
        logger.error(
            "The scopes of an API key cannot be read, so the key allows nothing",
            extra={"action": "api_key_invalid", "key": prefix, "reason": str(error)},
        )
        return Grant(flags=frozenset(), tables=frozenset(), evaluate=False)


class KeyRing:
    """All keys, in memory, and `notes` of their use. An identity stays the same object until its key changes."""

    def __init__(self) -> None:
        self.notes = KeyUseNotes()
        self._keys: dict[str, ApiKey] = {}
        self._identities: dict[int, Identity] = {}

    def __len__(self) -> int:
        return sum(not key.is_revoked for key in self._keys.values())

    def replace(self, keys: Iterable[ApiKey]) -> Sequence[tuple[ApiKey, KeyChange]]:
        """Replace all keys by these; how they differ from the ones before."""
        known = {key.id: key for key in self._keys.values()}
        self._keys = {key.prefix: key for key in keys}
        self._identities = {
            key.id: self._identities[key.id] if known.get(key.id) == key else _identity(key)
            for key in self._keys.values()
            if not key.is_revoked
        }
        changes = [(key, _change(known.get(key.id), key)) for key in self._keys.values()]
        deleted = known.keys() - {key.id for key in self._keys.values()}
        return [(key, change) for key, change in changes if change is not None] + [
            (known[id], "deleted") for id in sorted(deleted)
        ]

    def identify(self, text: str, now: float) -> Identity:
        """The holder of a key; raises `Unauthorized`. Takes equally long for every text in the format of a key."""
        match = _FORMAT.fullmatch(text)
        key = self._keys.get(match[1]) if match is not None else None
        is_right = hmac.compare_digest(_hash(text), _UNKNOWN if key is None else key.hash)
        if key is None or not is_right:
            if match is None:
                self.notes.note_refusal(None, "malformed")
            else:
                self.notes.note_refusal(match[1], "unknown" if key is None else "wrong_secret")
            raise Unauthorized("unknown API key", code="invalid_credential")
        if key.is_revoked:
            self.notes.note_refusal(key.prefix, "revoked")
            raise Unauthorized("this API key has been revoked", code="credential_revoked")
        identity = self._identities[key.id]
        if identity.expires_at is not None and identity.expires_at <= now:
            self.notes.note_refusal(key.prefix, "expired")
            raise Unauthorized("this API key has expired", code="credential_expired")
        self.notes.note_use(key.id)
        return identity

    def find(self, key_id: int) -> Identity | None:
        """The identity of a key, by its id; None if the key is unknown or revoked."""
        return self._identities.get(key_id)


def _change(before: ApiKey | None, after: ApiKey) -> KeyChange | None:
    if before == after:
        return None
    if before is None:
        return "created"
    return "revoked" if after.is_revoked and not before.is_revoked else "changed"


def _identity(key: ApiKey) -> Identity:
    expires_at = None if key.expires_at is None else key.expires_at.timestamp()
    return Identity(f"key {key.prefix}", key.grant, key.id, expires_at)
