"""Stream tokens: valid once, for a minute, and never longer than the credential behind them."""

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest

from cdc.auth import stream_token
from cdc.auth.identity import Identity
from cdc.auth.stream_token import LIFETIME_S, StreamTokenIssuer, TokenSecret
from cdc.auth.stream_token_claims import StreamTokenLimits
from cdc.core.errors import InvalidInput
from cdc.core.subscription.grant import Grant
from cdc.errors import TooBusy
from tests.fixtures.credentials import rejection

NOW = 1_800_000_000.0
HOUR = 3600.0
HOLDER = Identity("token of 'x'", Grant(flags=frozenset({"web-*"})), expires_at=NOW + HOUR)


def issuer(*created_at: float, secret: bytes = b"s" * 32) -> StreamTokenIssuer:
    return StreamTokenIssuer(
        [TokenSecret(number, secret + bytes([number]), at) for number, at in enumerate(created_at or (0.0,), 1)]
    )


def signed(claims: object, secret: bytes = b"s" * 32 + b"\1") -> str:
    """A token as whoever has the secret can write it."""
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    digest = hmac.digest(secret, f"stream-token:{body}".encode(), hashlib.sha256)
    return f"fla_st_{body}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def claims(**changes: Any) -> dict[str, Any]:
    given = {"i": "id", "e": NOW + 60, "n": "x", "g": {}, "x": NOW + HOUR, **changes}
    return {name: value for name, value in given.items() if value != "absent"}


def test_a_stream_token_carries_its_holders_rights_once_and_for_a_minute() -> None:
    tokens = issuer()
    text, ends_at = tokens.issue(HOLDER, NOW)
    assert ends_at == NOW + LIFETIME_S
    token = tokens.read(text, NOW)
    assert (token.holder.grant, token.holder.expires_at, token.holder.is_stream_token) == (
        HOLDER.grant,
        NOW + HOUR,
        True,
    )
    assert tokens.read(text, NOW).id == token.id  # reading is not using
    tokens.use_up(token, NOW)
    assert rejection(lambda: tokens.read(text, NOW)) == "token_used"
    other, _ = tokens.issue(HOLDER, NOW)
    assert rejection(lambda: tokens.read(other, NOW + LIFETIME_S)) == "credential_expired"


def test_a_stream_token_never_outlives_the_credential_behind_it() -> None:
    assert issuer().issue(Identity("x", Grant(), expires_at=NOW + 5), NOW)[1] == NOW + 5


def test_a_stream_token_that_was_altered_or_signed_elsewhere_is_refused() -> None:
    tokens = issuer()
    text, _ = tokens.issue(Identity("x", Grant(flags=frozenset()), expires_at=NOW + HOUR), NOW)
    body, signature = text.split(".")
    forged = base64.urlsafe_b64encode(json.dumps(claims()).encode()).decode().rstrip("=")
    for wrong in (
        f"fla_st_{forged}.{signature}",
        body + ".",
        body,
        "fla_st_",
        text + "ü",
        text + "\ud800",
        issuer(secret=b"t" * 32).issue(HOLDER, NOW)[0],
        "fla_st_" + "x" * 20_000,
    ):
        assert rejection(lambda wrong=wrong: tokens.read(wrong, NOW)) == "invalid_credential"


@pytest.mark.parametrize(
    "changes",
    [
        {"e": NOW + 66},
        {"e": NOW + 10 * 365 * 86_400},
        {"e": 10**400},
        {"e": float("nan")},
        {"e": float("inf")},
        {"e": True},
        {"e": str(NOW + 60)},
        {"e": None},
        {"e": "absent"},
        {"x": "absent"},
        {"x": float("nan")},
        {"x": [NOW]},
        {"g": "absent"},
        {"g": []},
        {"g": {"unknown": 1}},
        {"k": "1"},
        {"k": True},
        {"i": "absent"},
        {"i": ["id"]},
        {"i": ""},
        {"n": 7},
        {"p": 7},
        {"o": {}},
    ],
    ids=str,
)
def test_a_token_is_refused_for_what_it_says_however_well_it_is_signed(changes: dict[str, Any]) -> None:
    tokens = issuer()
    assert tokens.read(signed(claims()), NOW).id == "id"
    assert rejection(lambda: tokens.read(signed(claims(**changes)), NOW)) == "invalid_credential"


@pytest.mark.parametrize("body", [[], 7, None, "text"], ids=str)
def test_a_signed_body_that_is_no_object_is_refused(body: object) -> None:
    assert rejection(lambda: issuer().read(signed(body), NOW)) == "invalid_credential"


def test_a_grant_too_long_for_an_address_is_refused() -> None:
    long = Grant(flags=frozenset(f"{number:0200}" for number in range(500)))
    with pytest.raises(InvalidInput, match="too long"):
        issuer().issue(Identity("x", long, expires_at=NOW + HOUR), NOW)


def test_a_token_is_narrowed_and_never_widened() -> None:
    wide = StreamTokenLimits(
        Grant.parse({"flags": ["web-a", "mobile"], "tables": ["orders"]}), "/ws", "https://a.example"
    )
    token = issuer().read(issuer().issue(HOLDER, NOW, wide)[0], NOW)
    assert token.holder.grant.to_json() == {"flags": ["web-a"], "tables": []}
    assert (token.limits.path, token.limits.origin) == ("/ws", "https://a.example")


def test_with_a_key_the_scopes_are_kept_apart_until_its_grant_is_looked_up() -> None:
    key = Identity("key fla_cdc_x", Grant(flags=frozenset({"web-*"})), key_id=7)
    narrow = Grant(tags=frozenset({"t"}))
    token = issuer().read(issuer().issue(key, NOW, StreamTokenLimits(narrow))[0], NOW)
    assert (token.holder.key_id, token.limits.scopes) == (7, narrow)


def test_after_a_rotation_the_previous_secret_verifies_for_one_minute() -> None:
    before = issuer(0.0)
    early, _ = before.issue(HOLDER, NOW - 1)
    # The server signs with the previous one until every other server has read the new one.
    tokens = issuer(0.0, NOW)
    tokens.read(early, NOW)
    spread, ends_at = tokens.issue(HOLDER, NOW + 4)
    assert ends_at == NOW + LIFETIME_S
    before.read(spread, NOW + 4)
    late, _ = tokens.issue(HOLDER, NOW + 6)
    assert rejection(lambda: before.read(late, NOW + 6)) == "invalid_credential"
    tokens.read(late, NOW + 6)
    tokens.read(spread, NOW + 59)
    # Whoever has the previous secret can sign with it, and nothing that is signed with it is accepted any more.
    forged = signed(claims(e=NOW + 100))
    tokens.read(forged, NOW + 59)
    assert rejection(lambda: tokens.read(forged, NOW + 60)) == "invalid_credential"


def test_rotations_in_quick_succession_end_every_earlier_secret() -> None:
    tokens = issuer(0.0, NOW, NOW + 10, NOW + 20)
    forged = signed(claims(e=NOW + 61))
    tokens.read(forged, NOW + 59)
    assert rejection(lambda: tokens.read(forged, NOW + 60)) == "invalid_credential"
    assert tokens.issue(HOLDER, NOW + 22)[1] == NOW + 20 + LIFETIME_S, "the third one signs, and ends with the fourth"


def test_the_only_secret_signs_however_new_it_is() -> None:
    tokens = issuer(NOW + 30)
    tokens.read(tokens.issue(HOLDER, NOW)[0], NOW)


def test_new_secrets_do_not_forget_the_tokens_that_were_used() -> None:
    tokens = issuer(0.0)
    text, _ = tokens.issue(HOLDER, NOW)
    tokens.use_up(tokens.read(text, NOW), NOW)
    assert tokens.replace([TokenSecret(1, b"s" * 32 + b"\1", 0.0), TokenSecret(2, b"n" * 32, NOW)]) is True
    assert rejection(lambda: tokens.read(text, NOW)) == "token_used"


def test_the_secret_is_not_shown() -> None:
    assert "sss" not in repr(TokenSecret(1, b"s" * 32, 0.0))


def test_used_tokens_cost_the_same_however_many_there_are() -> None:
    tokens = issuer()
    work: list[int] = []
    for minute in range(3):
        for number in range(3_000):
            now = NOW + minute * 60 + number / 50
            token = tokens.read(tokens.issue(HOLDER, now)[0], now)
            tokens.use_up(token, now)
        work.append(len(tokens._used._seconds))
        assert tokens._used._count == sum(map(len, tokens._used._seconds.values())) <= 3_100, "forgotten in time"
    assert max(work) <= 62


def test_more_used_tokens_than_fit_turn_new_ones_away_until_they_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_token, "_MAX_USED", 10)
    tokens = issuer()
    texts = [tokens.issue(HOLDER, NOW)[0] for _ in range(11)]
    for text in texts[:10]:
        tokens.use_up(tokens.read(text, NOW), NOW)
    with pytest.raises(TooBusy):
        tokens.read(texts[10], NOW)
    assert rejection(lambda: tokens.read(texts[0], NOW)) == "token_used"
    later, _ = tokens.issue(HOLDER, NOW + 62)
    tokens.read(later, NOW + 62)
