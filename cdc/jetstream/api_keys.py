"""The API keys in the tier: what a node needs to check them, which is never their text.

The relay writes all of them as one entry of the key-value bucket whenever one changed. Only hashes of 256 random bits
leave the database. The secret that signs stream tokens does not: it would allow its reader to issue them. Nodes have
one of their own, from their settings, and another entry names its rotations: with each, they derive another secret from
their own and the hash of the database's, which is worth nothing without theirs.
"""

import hashlib
import hmac
import json
import zlib
from collections.abc import Collection, Sequence
from datetime import datetime

import nats.js.errors
from nats.js.client import JetStreamContext

from ..auth.api_key import ApiKey, readable_grant
from ..auth.key_use import KeyUse
from ..auth.stream_token import TokenSecret
from ..errors import NatsUnavailable
from .address import NatsAddress
from .connection import Link
from .key_use import report_use
from .layout import Layout

__all__ = ["JetStreamKeys", "write_keys", "write_rotations"]

_KEY = "keys"
_ROTATIONS = "stream-token-rotations"


class JetStreamKeys:
    """The port `KeyStore` of a tier; stream tokens are signed with `secret`, and what rotations make of it."""

    def __init__(self, address: NatsAddress, layout: Layout, secret: bytes) -> None:
        self._layout = layout
        self._secret = secret
        self._link = Link(address, "keys")
        self._data = b""
        self._rotations = b""

    async def keys_version(self) -> str:
        async with self._link.use() as jetstream:
            try:
                state = await jetstream.key_value(self._layout.state)
                entry = await state.get(_KEY)
            except nats.js.errors.NotFoundError as error:
                raise NatsUnavailable(
                    f"there are no API keys in {self._layout.state!r} yet; `flagent-cdc relay` copies them"
                ) from error
            try:
                rotations = await state.get(_ROTATIONS)
                self._rotations, revision = rotations.value or b"", rotations.revision
            except nats.js.errors.KeyNotFoundError:
                # An earlier version's relay writes none.
                self._rotations, revision = b"", 0
        self._data = entry.value or b""
        return f"{entry.revision}/{revision}"

    async def keys(self) -> list[ApiKey]:
        """As of the last `keys_version`."""
        return decode_keys(self._data)

    async def stream_token_secrets(self) -> list[TokenSecret]:
        """As of the last `keys_version`."""
        return derive_secrets(self._secret, self._rotations)

    async def record_use(self, use: KeyUse) -> Collection[int]:
        """The active relay records it."""
        async with self._link.use_client() as client:
            return await report_use(client, self._layout, use)

    def shutdown_socket(self) -> None:
        self._link.shutdown_socket()

    async def close(self) -> None:
        await self._link.close()


async def write_keys(jetstream: JetStreamContext, layout: Layout, keys: Sequence[ApiKey]) -> None:
    state = await jetstream.key_value(layout.state)
    await state.put(_KEY, encode_keys(keys))


async def write_rotations(jetstream: JetStreamContext, layout: Layout, secrets: Sequence[TokenSecret]) -> None:
    state = await jetstream.key_value(layout.state)
    await state.put(_ROTATIONS, encode_rotations(secrets))


def encode_rotations(secrets: Sequence[TokenSecret]) -> bytes:
    """What nodes derive their secrets from; of the one that came with the installation, nothing but its existence."""
    entries = [
        {"id": each.id, "createdAt": each.created_at, "seed": "" if each.id == 1 else _seed(each.secret)}
        for each in secrets
    ]
    return json.dumps(entries).encode()


def _seed(secret: bytes) -> str:
    return hashlib.sha256(b"flagent-cdc rotation of stream tokens:" + secret).hexdigest()


def derive_secrets(secret: bytes, rotations: bytes) -> list[TokenSecret]:
    """The secrets of a node with this one. Without rotations, it is the only one."""
    return [
        TokenSecret(
            raw["id"],
            hmac.digest(secret, raw["seed"].encode(), hashlib.sha256) if raw["seed"] else secret,
            raw["createdAt"],
        )
        for raw in json.loads(rotations or b"[]")
    ] or [TokenSecret(1, secret, 0.0)]


def encode_keys(keys: Sequence[ApiKey]) -> bytes:
    entries = [
        {
            "id": key.id,
            "name": key.name,
            "prefix": key.prefix,
            "hash": key.hash.hex(),
            "scopes": key.grant.to_json(),
            "createdAt": key.created_at.isoformat(),
            "expiresAt": None if key.expires_at is None else key.expires_at.isoformat(),
            "revokedAt": None if key.revoked_at is None else key.revoked_at.isoformat(),
        }
        for key in keys
    ]
    return zlib.compress(json.dumps(entries).encode())


def decode_keys(data: bytes) -> list[ApiKey]:
    return [
        ApiKey(
            raw["id"],
            raw["name"],
            raw["prefix"],
            bytes.fromhex(raw["hash"]),
            readable_grant(raw["prefix"], raw["scopes"]),
            datetime.fromisoformat(raw["createdAt"]),
            None if raw["expiresAt"] is None else datetime.fromisoformat(raw["expiresAt"]),
            None if raw["revokedAt"] is None else datetime.fromisoformat(raw["revokedAt"]),
        )
        for raw in json.loads(zlib.decompress(data))
    ]
