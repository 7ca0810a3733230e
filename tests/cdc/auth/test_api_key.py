"""API keys: their text, their hash, and the ring that identifies them."""

import base64
import hashlib
import hmac
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from cdc.auth.api_key import ApiKey, KeyRing, new_key
from cdc.core.subscription.grant import Grant
from tests.fixtures.credentials import rejection

NOW = time.time()


def stored(id: int = 1, **changes: Any) -> tuple[str, ApiKey]:
    made = new_key()
    values: dict[str, Any] = {"expires_at": None, "revoked_at": None, "grant": Grant(), **changes}
    return made.text, ApiKey(id, "n", made.prefix, made.hash, created_at=datetime.now(UTC), **values)


def test_a_key_has_256_random_bits_and_only_its_hash_is_kept() -> None:
    made = new_key()
    assert made.text.startswith(made.prefix + "_")
    assert len(base64.urlsafe_b64decode(made.text.rsplit(made.prefix + "_")[1] + "=")) == 32
    assert made.hash == hashlib.sha256(made.text.encode()).digest()
    assert new_key().text != made.text


def test_a_ring_knows_its_keys_and_no_others() -> None:
    ring = KeyRing()
    text, key = stored()
    ring.replace([key])
    assert ring.identify(text, NOW).key_id == 1
    for wrong in (text[:-1] + ("A" if text[-1] != "A" else "B"), new_key().text, text + "x", "fla_cdc_", "ü" * 60):
        assert rejection(lambda wrong=wrong: ring.identify(wrong, NOW)) == "invalid_credential"


def test_a_key_ends_by_revocation_and_by_time() -> None:
    ring = KeyRing()
    text, key = stored(revoked_at=datetime.now(UTC))
    short, brief = stored(2, expires_at=datetime.fromtimestamp(NOW + 10, UTC))
    ring.replace([key, brief])
    assert rejection(lambda: ring.identify(text, NOW)) == "credential_revoked"
    assert ring.find(1) is None
    assert ring.identify(short, NOW).expires_at == pytest.approx(NOW + 10)
    assert rejection(lambda: ring.identify(short, NOW + 11)) == "credential_expired"
    assert len(ring) == 1


def test_an_identity_outlives_a_reload_that_does_not_change_its_key() -> None:
    ring = KeyRing()
    text, key = stored()
    ring.replace([key])
    identity = ring.identify(text, NOW)
    ring.replace([key, stored(2)[1]])
    assert ring.identify(text, NOW) is identity


def test_keys_are_compared_in_constant_time_whether_known_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def spy(left: bytes, right: bytes) -> bool:
        compared.append((left, right))
        return real(left, right)

    monkeypatch.setattr("cdc.auth.api_key.hmac.compare_digest", spy)
    ring = KeyRing()
    text, key = stored()
    ring.replace([key])
    ring.identify(text, NOW)
    rejection(lambda: ring.identify(new_key().text, NOW))
    rejection(lambda: ring.identify("no key at all", NOW))
    assert [len(left) == len(right) == 32 for left, right in compared] == [True] * 3
