"""The API keys, read from PostgreSQL."""

import asyncio
import time

import pytest

from cdc.admin.api_keys import create_key, revoke_key, rotate_secret
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


async def test_a_rotation_of_the_secret_is_another_version_and_keeps_the_previous_one(database_url: str) -> None:
    first, second = KeyReader(database_url), KeyReader(database_url)
    (secret,) = await first.stream_token_secrets()
    assert len(secret.secret) >= 32
    assert list(await second.stream_token_secrets()) == [secret]
    version = await first.keys_version()
    await asyncio.to_thread(rotate_secret, database_url)
    assert await first.keys_version() != version
    previous, newest = await second.stream_token_secrets()
    assert previous == secret
    assert (newest.id, len(newest.secret)) == (2, 32)
    assert newest.secret != previous.secret
    assert newest.created_at == pytest.approx(time.time(), abs=60)
    first.shutdown_socket()
    await first.close()
    await second.close()
