"""The sections of the settings: their defaults, their secrets, and what follows from several of them."""

from dataclasses import FrozenInstanceError

import pytest

from cdc.core.errors import InvalidInput
from cdc.settings.settings import Settings

P256_KEY = """-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEyar60+CM7+VAtu6dOV3kBGsPwRWZ
7KI4TQE/He1nRcFDVksc/lVc1B1D9wFa2USBm/zZzXfR3kMjXUNOABVvvw==
-----END PUBLIC KEY-----"""


def test_defaults_are_those_that_flagent_announced() -> None:
    settings = Settings.from_environment({})
    assert settings.websocket.enabled
    assert settings.listen.port == 8080
    assert settings.websocket.path == "/ws"
    assert settings.websocket.ping_interval_s == 30
    assert settings.websocket.max_connections == 10_000
    assert settings.sse.enabled
    assert settings.sse.path == "/api/v1/events/stream"
    assert settings.sse.keep_alive_s == 30
    assert settings.sse.max_clients == 10_000


@pytest.mark.parametrize("text", ["too-short-a-secret", P256_KEY])
def test_a_refused_secret_is_not_repeated(text: str) -> None:
    with pytest.raises(InvalidInput, match="at least 32 bytes; this value is not") as caught:
        Settings.from_environment({"FLAGENT_CDC_AUTH_JWT_SECRET": text})
    assert text not in str(caught.value)


def test_a_secret_is_not_shown() -> None:
    assert "s" * 32 not in repr(Settings.from_environment({"FLAGENT_CDC_AUTH_JWT_SECRET": "s" * 32}))


def test_a_way_to_verify_tokens_asks_for_credentials() -> None:
    assert not Settings.from_environment({}).auth.is_required
    assert Settings.from_environment({"FLAGENT_CDC_AUTH_ENABLED": "true"}).auth.is_required
    assert Settings.from_environment({"FLAGENT_CDC_AUTH_JWT_SECRET": "s" * 32}).auth.is_required


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings.from_environment({}).listen.port = 1  # type: ignore[misc]
