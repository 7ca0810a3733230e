"""The API keys in PostgreSQL."""

from ..auth.api_key import ApiKey, readable_grant
from ..auth.key_use import KeyUse
from ..auth.stream_token import TokenSecret
from ..database.queries import query
from ..database.read_session import ReadSession

__all__ = ["KeyReader"]

_MAX_COUNT = 2**31 - 1


class KeyReader:
    """The port `KeyStore` of a database."""

    def __init__(self, url: str) -> None:
        self._session = ReadSession(url)

    async def keys_version(self) -> str:
        return str(await self._session.scalar(query("keys_version")) or "")

    async def keys(self) -> list[ApiKey]:
        async with self._session.use() as connection:
            rows = await (await connection.execute(query("keys"))).fetchall()
        return [
            ApiKey(id, name, prefix, bytes(hash), readable_grant(prefix, scopes), created_at, expires_at, revoked_at)
            for id, name, prefix, hash, scopes, created_at, expires_at, revoked_at in rows
        ]

    async def stream_token_secrets(self) -> list[TokenSecret]:
        # The migration that made the table put one row into it.
        async with self._session.use() as connection:
            rows = await (await connection.execute(query("stream_token_secrets"))).fetchall()
        return [TokenSecret(id, bytes(secret), created_at) for id, secret, created_at in rows]

    async def record_use(self, use: KeyUse) -> list[int]:
        refused = list(use.refused.items())
        given = {
            "used": sorted(use.used),
            "prefixes": [prefix for (prefix, _), _ in refused],
            "reasons": [reason for (_, reason), _ in refused],
            "counts": [min(count, _MAX_COUNT) for _, count in refused],
        }
        # One statement in autocommit: sessions that read may call a function that writes.
        async with self._session.use() as connection:
            row = await (await connection.execute(query("record_key_use"), given)).fetchone()
        return [] if row is None else list(row[0])

    def shutdown_socket(self) -> None:
        self._session.shutdown_socket()

    async def close(self) -> None:
        await self._session.close()
