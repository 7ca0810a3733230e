"""Where NATS is and how to log in: what is accepted, and that no credential is shown."""

import ssl
from pathlib import Path
from typing import Any

import pytest

from cdc.core.errors import InvalidInput
from cdc.jetstream.address import NatsAddress
from cdc.settings.settings import Settings
from tests.fixtures.settings import settings_with

SECRET = "very-secret-word"


def address(urls: str, **changes: Any) -> NatsAddress:
    return NatsAddress.of(settings_with(**changes), urls, name="x")


@pytest.mark.parametrize(
    ("url", "changes", "words"),
    [
        ("http://a:4222", {}, "must be nats://host:4222"),
        ("nats://:4222", {}, "must be nats://host:4222"),
        ("nats://a:99999", {}, "must be nats://host:4222"),
        ("nats://a/path", {}, "must be nats://host:4222"),
        ("nats://a,", {}, "must be nats://host:4222"),
        (f"nats://u:{SECRET}@a", {"nats_token": SECRET}, "more than one way"),
        ("nats://a", {"nats_token": SECRET, "nats_user": "u", "nats_password": SECRET}, "more than one way"),
        ("nats://a", {"nats_user": "u"}, "belong together"),
        ("nats://a", {"nats_tls_cert": Path(__file__)}, "belong together"),
        ("nats://a", {"nats_tls_ca": Path(__file__)}, "cannot be used"),
        (f"nats://u:{SECRET}@[a", {}, "must be nats://host:4222"),
    ],
)
def test_bad_addresses_and_logins_are_refused_without_secrets(url: str, changes: dict[str, Any], words: str) -> None:
    settings = settings_with(**changes)
    with pytest.raises(InvalidInput, match=words) as refused:
        NatsAddress.of(settings, url, name="FLAGENT_CDC_NATS_URL")
    assert SECRET not in str(refused.value)


def test_an_address_is_shown_without_its_login() -> None:
    settings = Settings.from_environment({})
    address = NatsAddress.of(settings, f"nats://u:{SECRET}@a:4333, tls://[::1]", name="x")
    assert str(address) == "nats://a:4333,tls://[::1]:4222"
    assert SECRET not in repr(address)


def test_the_address_is_read_with_the_login_of_the_settings() -> None:
    found = address("nats://a:4222 , nats://b", nats_user="ann", nats_password=SECRET)
    assert found.servers == ("nats://a:4222", "nats://b")
    assert (found.user, found.password, found.token, found.nkey) == ("ann", SECRET, None, None)
    assert SECRET not in repr(found)
    assert address("nats://a", nats_token=SECRET).token == SECRET


def test_tls_is_used_where_the_scheme_or_a_setting_asks_for_it() -> None:
    assert address("nats://a").tls() is None
    context = address("nats://a,tls://b").tls()
    assert context is not None
    # The certificate of the server is verified, and its name.
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_a_file_that_is_no_certificate_is_named_by_its_setting(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("no certificate")
    for ca in (file, tmp_path / "missing.pem"):
        with pytest.raises(InvalidInput, match="FLAGENT_CDC_NATS_TLS_CA, …_CERT or …_KEY cannot be used"):
            address("nats://a", nats_tls_ca=ca)
