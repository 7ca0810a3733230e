"""The API keys in the tier: everything but their text."""

from datetime import UTC, datetime

from cdc.auth.api_key import ApiKey, new_key
from cdc.core.subscription.grant import Grant
from cdc.jetstream.api_keys import decode_keys, encode_keys


def test_keys_are_read_as_they_were_written() -> None:
    now = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
    first, second = new_key(), new_key()
    keys = [
        ApiKey(1, "web", first.prefix, first.hash, Grant(flags=frozenset({"web-*"})), now, None, None),
        ApiKey(2, "old", second.prefix, second.hash, Grant(), now, now, now),
    ]
    data = encode_keys(keys)
    assert decode_keys(data) == keys
    assert first.text.encode() not in data


def test_no_keys_are_none() -> None:
    assert decode_keys(encode_keys([])) == []
