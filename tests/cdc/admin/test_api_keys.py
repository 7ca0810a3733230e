"""API keys in the database: created, listed and revoked."""

from datetime import UTC, datetime, timedelta

import pytest

from cdc.admin.api_keys import create_key, list_keys, revoke_key
from cdc.auth.api_key import KeyRing
from cdc.core.subscription.grant import Grant
from cdc.errors import InvalidInput, Unauthorized

NOW = datetime.now(UTC)


def test_a_listed_key_has_everything_but_the_text(database_url: str) -> None:
    grant, expires_at = Grant(flags=frozenset({"web-*"}), evaluate=False), NOW + timedelta(days=30)
    text = create_key(database_url, "web", grant, expires_at)
    (key,) = list_keys(database_url)
    assert (key.name, key.grant, key.expires_at, key.is_revoked) == ("web", grant, expires_at, False)
    assert text.startswith(key.prefix + "_")
    assert text not in repr(key)
    ring = KeyRing()
    ring.replace([key])
    assert ring.identify(text, NOW.timestamp()).grant == grant


def test_keys_are_listed_in_the_order_of_creation_also_when_revoked(database_url: str) -> None:
    for name in ("one", "two", "three"):
        create_key(database_url, name, Grant())
    revoke_key(database_url, list_keys(database_url)[0].prefix)
    assert [(key.name, key.is_revoked) for key in list_keys(database_url)] == [
        ("one", True),
        ("two", False),
        ("three", False),
    ]


@pytest.mark.parametrize("named_by", ["id", "prefix", "text"])
def test_a_key_is_revoked_once_by_its_id_its_prefix_or_its_text(database_url: str, named_by: str) -> None:
    text = create_key(database_url, "web", Grant())
    (key,) = list_keys(database_url)
    which = {"id": str(key.id), "prefix": key.prefix, "text": text}[named_by]
    assert revoke_key(database_url, which) == (key.prefix, True)
    assert revoke_key(database_url, which) == (key.prefix, False)
    ring = KeyRing()
    ring.replace(list_keys(database_url))
    with pytest.raises(Unauthorized, match="has been revoked"):
        ring.identify(text, NOW.timestamp())


@pytest.mark.parametrize("which", ["", "0", "12345678901", "fla_cdc_aaaaaaaa", "fla_cdc_aaaaaaaa_" + "x" * 43])
def test_an_unknown_key_is_not_repeated(database_url: str, which: str) -> None:
    create_key(database_url, "web", Grant())
    with pytest.raises(InvalidInput, match="there is no such key") as caught:
        revoke_key(database_url, which)
    assert caught.value.code == "unknown_key"
    assert not which or which not in str(caught.value)
