"""Facts about settings and machine, and what the doctor reports of them."""

import resource
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cdc.admin.api_keys import create_key
from cdc.core.diagnosis import KeyFacts, MachineFacts
from cdc.core.subscription.grant import Grant
from cdc.doctor import read_machine
from cdc.settings.settings import Settings
from tests.fixtures.doctor import doctor
from tests.fixtures.postgres import Postgres


async def test_authentication_without_keys_is_reported(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, found = await doctor(capsys, "--database-url", database_url, FLAGENT_CDC_AUTH_ENABLED="true")
    assert "all requests will be rejected" in found["keys"]["text"]


async def test_keys_that_cannot_be_read_are_reported(
    postgres: Postgres, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    create_key(database_url, "web", Grant())
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("""update flagent_cdc.api_key set scopes = '{"colour": "red"}'""")
    _, found = await doctor(capsys, "--database-url", database_url, FLAGENT_CDC_AUTH_ENABLED="true")
    assert "scopes cannot be read" in found["keys"]["text"]


async def test_key_sets_that_cannot_be_read_are_reported(
    database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "jwks.json"
    file.write_text("no JSON")
    for place in (str(file), "https://127.0.0.1:1/jwks.json"):
        _, found = await doctor(capsys, "--database-url", database_url, FLAGENT_CDC_AUTH_JWT_JWKS=place)
        assert place in found["jwks"]["text"]


async def test_a_server_open_to_everyone_is_reported(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, found = await doctor(capsys, "--database-url", database_url, FLAGENT_CDC_HOST="0.0.0.0")
    assert "does not start" in found["authentication"]["text"]


async def test_too_few_descriptors_are_reported(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, found = await doctor(capsys, "--database-url", database_url, FLAGENT_SSE_MAX_CLIENTS="100000000")
    assert "LimitNOFILE=" in found["descriptors"]["remedy"]


def certificate(directory: Path, name: str, days: int) -> tuple[str, str]:
    """A certificate that is valid for so many days, and its key, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=30))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = directory / f"{name}.pem", directory / f"{name}.key"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return str(cert_file), str(key_file)


async def test_unusable_certificates_are_reported(
    database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, good_key = certificate(tmp_path, "good", 90)
    ended, ended_key = certificate(tmp_path, "ended", -1)

    async def found(cert: str, key: str) -> str:
        _, findings = await doctor(
            capsys, "--database-url", database_url, FLAGENT_CDC_TLS_CERT=cert, FLAGENT_CDC_TLS_KEY=key
        )
        return str(findings.get("certificate", {}).get("text", ""))

    assert await found(good, good_key) == ""
    assert "has expired" in await found(ended, ended_key)
    assert "does not match" in await found(good, ended_key)
    assert "FLAGENT_CDC_TLS_KEY is missing" in await found(good, "")


def facts(keys: tuple[KeyFacts, ...] | None = None, **variables: str) -> MachineFacts:
    return read_machine(Settings.from_environment(variables), is_exposed=False, keys=keys)


def test_facts_come_from_the_settings() -> None:
    plain = facts()
    assert (plain.host, plain.is_exposed, plain.requires_credentials, plain.workers) == ("127.0.0.1", False, False, 1)
    assert (plain.certificate, plain.jwks, plain.jwks_error, plain.keys) == (None, None, None, None)
    changed = facts(
        FLAGENT_CDC_AUTH_ENABLED="true",
        FLAGENT_CDC_AUTH_JWT_SECRET="x" * 64,
        FLAGENT_CDC_AUTH_JWT_AUDIENCE="flags",
        FLAGENT_CDC_CORS_ORIGINS="*",
    )
    assert changed.requires_credentials
    assert (changed.verifies_tokens, changed.has_audience, changed.allows_any_origin) == (True, True, True)


@pytest.mark.parametrize(
    ("variables", "connections"),
    [
        ({"FLAGENT_SSE_MAX_CLIENTS": "7", "FLAGENT_WS_MAX_CONNECTIONS": "5"}, 12),
        ({"FLAGENT_SSE_MAX_CLIENTS": "7", "FLAGENT_WS_MAX_CONNECTIONS": "5", "FLAGENT_WS_ENABLED": "false"}, 7),
        ({"FLAGENT_SSE_MAX_CLIENTS": "7", "FLAGENT_WS_MAX_CONNECTIONS": "5", "FLAGENT_SSE_ENABLED": "false"}, 5),
    ],
)
def test_only_enabled_transports_need_connections(variables: dict[str, str], connections: int) -> None:
    machine = read_machine(Settings.from_environment(variables), is_exposed=False)
    assert machine.max_connections == connections


def test_descriptors_are_the_hard_limit_and_keys_what_the_database_says() -> None:
    keys = (KeyFacts("fla_cdc_x"),)
    machine = facts(keys=keys)
    assert machine.descriptors == resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert machine.keys == keys


def test_a_usable_certificate_has_days_and_no_error(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path, "good", 90)
    found: Any = facts(FLAGENT_CDC_TLS_CERT=cert, FLAGENT_CDC_TLS_KEY=key).certificate
    assert (found.path, found.error) == (cert, None)
    assert 89 < found.days <= 90


def test_an_empty_key_set_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_text('{"keys": []}')
    assert "has no signature key" in str(facts(FLAGENT_CDC_AUTH_JWT_JWKS=str(file)).jwks_error)
