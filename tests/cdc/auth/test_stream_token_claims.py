"""The claims of a stream token, written and read; tests/cdc/auth/test_stream_token.py has the refused ones."""

import base64
import json

import pytest

from cdc.auth.stream_token_claims import Claims, StreamTokenLimits, decode_claims, encode_bytes, encode_claims
from cdc.core.subscription.grant import Grant
from tests.fixtures.credentials import rejection


@pytest.mark.parametrize(
    "claims",
    [
        Claims("id", 1.5, "token of 'u'", None, 9.0, StreamTokenLimits(Grant())),
        Claims("id", 1.5, "token of " + "\\U000e0001" * 64, None, 9.0, StreamTokenLimits(Grant())),
        Claims("id", 1.5, "key fla_cdc_x", 7, None),
        Claims(
            "id",
            1.5,
            "key fla_cdc_x",
            7,
            9.0,
            StreamTokenLimits(Grant(flags=frozenset({"ü"})), "/ws", "https://a.example"),
        ),
    ],
    ids=["token", "longest name", "key", "narrowed"],
)
def test_claims_are_read_as_they_were_written(claims: Claims) -> None:
    assert decode_claims(encode_claims(claims)) == claims


def test_what_does_not_narrow_takes_no_room() -> None:
    body = encode_claims(Claims("id", 1.5, "n", 7, None))
    assert json.loads(base64.urlsafe_b64decode(body + "==")) == {"i": "id", "e": 1.5, "n": "n", "k": 7}


@pytest.mark.parametrize("body", ["", "!", "ü", "eA", encode_bytes(b"[" * 100_000), encode_bytes(b"\xff")])
def test_what_is_no_json_is_refused(body: str) -> None:
    assert rejection(lambda: decode_claims(body)) == "invalid_credential"
