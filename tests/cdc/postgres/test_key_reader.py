"""The API keys, read from PostgreSQL."""

import asyncio
import time

import pytest

from cdc.admin.api_keys import create_key, list_usage, read_audit, revoke_key, rotate_secret
from cdc.auth.key_use import KeyUse
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


async def test_uses_and_refusals_are_recorded_by_the_session_that_reads(database_url: str) -> None:
    reader = KeyReader(database_url)
    await asyncio.to_thread(create_key, database_url, "web", Grant())
    (key,) = await reader.keys()
    version = await reader.keys_version()
    use = KeyUse(frozenset({key.id, 99}), {(key.prefix, "expired"): 3, (None, "malformed"): 2**40})
    assert await reader.record_use(use) == [key.id]
    assert await reader.record_use(use) == []
    assert await reader.keys_version() == version, "a use is no change of a key: nothing is read again"
    (usage,) = await asyncio.to_thread(list_usage, database_url)
    assert usage.last_used_at is not None
    audit = [
        (entry.action, entry.prefix, entry.reason, entry.count)
        for entry in await asyncio.to_thread(read_audit, database_url, 100)
    ]
    refused = [("refused", key.prefix, "expired", 3), ("refused", None, "malformed", 2**31 - 1)]
    assert audit == [
        ("created", key.prefix, None, 1),
        ("first_used", key.prefix, None, 1),
        *refused,
        *refused,
    ]
    await reader.close()
