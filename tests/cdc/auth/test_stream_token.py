"""Stream tokens: valid once, for a minute, and never longer than the credential behind them."""

import base64
import json
import time

import pytest

from cdc.auth.identity import Identity
from cdc.auth.stream_token import LIFETIME_S, StreamTokenIssuer
from cdc.core.errors import InvalidInput
from cdc.core.subscription.grant import Grant
from tests.fixtures.credentials import rejection

NOW = time.time()


def test_a_stream_token_carries_its_holders_rights_once_and_for_a_minute() -> None:
    desk = StreamTokenIssuer(b"s" * 32)
    holder = Identity("token of 'x'", Grant(flags=frozenset({"web-*"})), expires_at=NOW + 500)
    text, ends_at = desk.issue(holder, NOW)
    assert ends_at == NOW + LIFETIME_S
    token = desk.read(text, NOW)
    assert (token.holder.grant, token.holder.expires_at, token.holder.is_stream_token) == (
        holder.grant,
        NOW + 500,
        True,
    )
    assert desk.read(text, NOW).id == token.id  # reading is not using
    desk.use_up(token, NOW)
    assert rejection(lambda: desk.read(text, NOW)) == "token_used"
    other, _ = desk.issue(holder, NOW)
    assert rejection(lambda: desk.read(other, NOW + LIFETIME_S)) == "credential_expired"


def test_a_stream_token_never_outlives_the_credential_behind_it() -> None:
    assert StreamTokenIssuer(b"s" * 32).issue(Identity("x", Grant(), expires_at=NOW + 5), NOW)[1] == NOW + 5


def test_a_stream_token_that_was_altered_or_signed_elsewhere_is_refused() -> None:
    desk = StreamTokenIssuer(b"s" * 32)
    text, _ = desk.issue(Identity("x", Grant(flags=frozenset())), NOW)
    body, signature = text.split(".")
    forged = base64.urlsafe_b64encode(json.dumps({"i": "1", "e": NOW + 60, "n": "x"}).encode()).decode().rstrip("=")
    for wrong in (
        f"fla_st_{forged}.{signature}",
        body + ".",
        body,
        "fla_st_",
        text + "ü",
        StreamTokenIssuer(b"t" * 32).issue(Identity("x", Grant()), NOW)[0],
        "fla_st_" + "x" * 20_000,
    ):
        assert rejection(lambda wrong=wrong: desk.read(wrong, NOW)) == "invalid_credential"


def test_a_grant_too_long_for_an_address_is_refused() -> None:
    long = Grant(flags=frozenset(f"{number:0200}" for number in range(500)))
    with pytest.raises(InvalidInput, match="too long"):
        StreamTokenIssuer(b"s" * 32).issue(Identity("x", long), NOW)
