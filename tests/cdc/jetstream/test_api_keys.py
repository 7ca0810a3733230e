"""The API keys in the tier: everything but their text."""

from datetime import UTC, datetime

from cdc.auth.api_key import ApiKey, new_key
from cdc.auth.stream_token import TokenSecret
from cdc.core.subscription.grant import Grant
from cdc.jetstream.api_keys import decode_keys, derive_secrets, encode_keys, encode_rotations


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


SECRETS = [TokenSecret(1, b"a" * 32, 10.0), TokenSecret(2, b"b" * 32, 20.0)]


def test_nodes_derive_their_secrets_from_their_own_and_the_rotations() -> None:
    data = encode_rotations(SECRETS)
    assert all(each.secret not in data and each.secret.hex().encode() not in data for each in SECRETS)
    first, second = derive_secrets(b"s" * 32, data)
    assert first == TokenSecret(1, b"s" * 32, 10.0), "without a rotation it is what an earlier version used"
    assert (second.id, second.created_at) == (2, 20.0)
    assert derive_secrets(b"s" * 32, data) == [first, second]
    assert len({second.secret, derive_secrets(b"t" * 32, data)[1].secret, b"b" * 32, b"s" * 32}) == 4


def test_without_an_entry_the_own_secret_is_the_only_one() -> None:
    assert derive_secrets(b"s" * 32, b"") == [TokenSecret(1, b"s" * 32, 0.0)]
