"""The API keys in the tier: what a node needs to check them, which is never their text.

The relay writes all of them as one entry of the key-value bucket whenever one changed. Only hashes of 256 random bits
leave the database. The secret that signs stream tokens does not: it would allow its reader to issue them.
"""

import json
import zlib
from collections.abc import Sequence
from datetime import datetime

import nats.js.errors
from nats.js.client import JetStreamContext

from ..auth.api_key import ApiKey, readable_grant
from ..errors import NatsUnavailable
from .address import NatsAddress
from .connection import Link
from .layout import Layout

__all__ = ["JetStreamKeys", "write_keys"]

_KEY = "keys"


class JetStreamKeys:
    """The port `KeyStore` of a tier; stream tokens are signed with `secret`."""

    def __init__(self, address: NatsAddress, layout: Layout, secret: bytes) -> None:
        self._layout = layout
        self._secret = secret
        self._link = Link(address, "keys")
        self._data = b""

    async def keys_version(self) -> str:
        async with self._link.use() as jetstream:
            try:
                entry = await (await jetstream.key_value(self._layout.state)).get(_KEY)
            except nats.js.errors.NotFoundError as error:
                raise NatsUnavailable(
                    f"there are no API keys in {self._layout.state!r} yet; `flagent-cdc relay` copies them"
                ) from error
        self._data = entry.value or b""
        return str(entry.revision)

    async def keys(self) -> list[ApiKey]:
        """As of the last `keys_version`."""
        return decode_keys(self._data)

    async def stream_token_secret(self) -> bytes:
        return self._secret

    def shutdown_socket(self) -> None:
        self._link.shutdown_socket()

    async def close(self) -> None:
        await self._link.close()


async def write_keys(jetstream: JetStreamContext, layout: Layout, keys: Sequence[ApiKey]) -> None:
    state = await jetstream.key_value(layout.state)
    await state.put(_KEY, encode_keys(keys))


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
