"""The API keys, read from PostgreSQL."""

import asyncio

from cdc.admin.api_keys import create_key, revoke_key
from cdc.core.subscription.grant import Grant
from cdc.postgres.key_reader import KeyReader


async def test_keys_are_read_and_every_change_gives_another_version(database_url: str) -> None:
    reader = KeyReader(database_url)
    none = await reader.keys_version()
    assert await reader.keys() == []
    grant = Grant(flags=frozenset({"web-*"}))
    text = await asyncio.to_thread(create_key, database_url, "web", grant)
    one = await reader.keys_version()
    (key,) = await reader.keys()
    assert (key.name, key.grant, key.revoked_at) == ("web", grant, None)
    assert text.startswith(key.prefix)
    await asyncio.to_thread(revoke_key, database_url, key.prefix)
    (key,) = await reader.keys()
    assert key.is_revoked
    assert len({none, one, await reader.keys_version()}) == 3
    assert await reader.keys_version() == await reader.keys_version()
    await reader.close()


async def test_the_secret_of_stream_tokens_stays_the_same(database_url: str) -> None:
    first, second = KeyReader(database_url), KeyReader(database_url)
    secret = await first.stream_token_secret()
    assert len(secret) >= 32
    assert await second.stream_token_secret() == secret
    first.shutdown_socket()
    await first.close()
    await second.close()
