"""`flagent-cdc doctor` as a person or a script uses it: a real server behind real proxies, exit codes, JSON."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cdc.admin.api_keys import create_key
from cdc.admin.installation import migrate
from cdc.cli import main
from cdc.core.subscription.grant import Grant
from cdc.database.queries import flagent_tables
from cdc.embedded.server import EmbeddedPostgres
from tests.fixtures.doctor import FEW, doctor
from tests.fixtures.postgres import Postgres, embedded, throwaway_directory
from tests.fixtures.reverse_proxy import GOOD, holding_back, nginx
from tests.fixtures.server import serving, until


@pytest.fixture(scope="module")
def safe() -> Iterator[EmbeddedPostgres]:
    """A healthy server: unlike the one of the other tests it does not risk its data."""
    with (
        throwaway_directory() as directory,
        embedded(directory / "server", 0, fsync="on", full_page_writes="on") as server,
    ):
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(flagent_tables())
        migrate(server.url)
        yield server


@asynccontextmanager
async def quick_server(url: str, **changes: Any) -> AsyncIterator[str]:
    """A server whose keep-alives are worth waiting for."""
    async with serving(url, sse_keep_alive_s=0.5, **changes) as server:
        yield server.url


async def test_a_healthy_set_up_is_silent(safe: EmbeddedPostgres, capsys: pytest.CaptureFixture[str]) -> None:
    async with quick_server(safe.url) as url:
        assert await doctor(capsys, "--database-url", safe.url, "--url", url) == (0, {})


async def test_a_healthy_set_up_behind_nginx_is_silent(
    safe: EmbeddedPostgres, capsys: pytest.CaptureFixture[str]
) -> None:
    async with quick_server(safe.url) as url:
        with nginx(url, GOOD) as proxied:
            assert await doctor(capsys, "--database-url", safe.url, "--url", proxied) == (0, {})


async def test_lines_for_people_name_what_is_wrong_and_what_mends_it(
    flagent_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await asyncio.to_thread(main, ["doctor", "--quiet", "--database-url", flagent_url], FEW) == 1
    lines = capsys.readouterr().out.splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith("error     installed "))
    assert lines[place].endswith("flagent-cdc is not installed in this database")
    assert lines[place + 1].strip() == "→ flagent-cdc migrate"
    assert not any(line.startswith("ok") for line in lines)


async def test_a_database_that_cannot_be_asked_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = await doctor(capsys, "--database-url", "postgresql://ann:geheim@127.0.0.1:1/flags")
    assert code == 2
    assert found["database"]["state"] == "unchecked"
    assert "geheim" not in json.dumps(found)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "nothing to look at was named"),
        (["--url", "flags.example"], "is not a server URL"),
        (["--url", "http://127.0.0.1:1", "--credential-file", "/nowhere"], "/nowhere cannot be read"),
        (["--longest-transaction", "soon", "--url", "http://h"], "must be a duration"),
    ],
)
def test_bad_input_is_one_sentence(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main(["doctor", *arguments], FEW)
    except SystemExit as ended:
        code = int(str(ended.code))
    assert code == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


async def test_an_unknown_role_is_refused(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["doctor", "--database-url", database_url, "--role", "nobody_here"]
    assert await asyncio.to_thread(main, arguments, FEW) == 2
    assert "role 'nobody_here' does not exist" in capsys.readouterr().err


# -- proxies ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("directives", "expected", "words"),
    [
        # As nginx is when nobody has told it anything: HTTP/1.0 to the server, whose answers it buffers.
        ("proxy_ignore_headers X-Accel-Buffering;", {"buffering", "websocket"}, "nothing of the stream arrives"),
        ("proxy_http_version 1.1; proxy_buffering off;", {"websocket"}, "a WebSocket does not come through"),
        (f"{GOOD} proxy_hide_header Cache-Control;", {"caching"}, "missing"),
        (f"{GOOD} proxy_set_header Accept-Encoding gzip;", {"compression"}, "arrives as gzip"),
    ],
    ids=["buffers", "without upgrade", "drops cache-control", "compresses"],
)
async def test_a_proxy_that_breaks_streams_is_named(
    database_url: str, capsys: pytest.CaptureFixture[str], directives: str, expected: set[str], words: str
) -> None:
    async with quick_server(database_url) as url:
        with nginx(url, directives) as proxied:
            code, found = await doctor(capsys, "--url", proxied)
    assert code == 1
    errors = {check for check, finding in found.items() if finding["state"] == "error"}
    assert errors == expected
    assert words in " ".join(found[check]["text"] for check in errors)


async def test_a_proxy_that_gives_up_quiet_connections_is_named(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(database_url, sse_keep_alive_s=3.0) as server:
        with nginx(server.url, f"{GOOD} proxy_read_timeout 1s;") as proxied:
            code, found = await doctor(capsys, "--url", proxied)
    assert code == 1
    assert "keep-alives do not arrive every 3 s" in found["keep_alive"]["text"]


async def test_a_proxy_that_waits_for_the_end_is_named(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    async with quick_server(database_url) as url, holding_back(url) as proxied:
        code, found = await doctor(capsys, "--url", proxied)
    assert code == 1
    assert {"buffering", "websocket"} <= found.keys()


# -- servers ---------------------------------------------------------------------------------------------------


async def test_a_server_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = await doctor(capsys, "--url", "http://127.0.0.1:1")
    assert code == 1
    assert found.keys() == {"reachable"}


async def test_a_server_of_another_database_is_named(
    safe: EmbeddedPostgres, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with quick_server(database_url) as url:
        code, found = await doctor(capsys, "--database-url", safe.url, "--url", url)
    assert code == 1
    assert found.keys() == {"same_log"}


async def test_a_server_behind_a_transaction_pool_is_named(pooled_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    async with quick_server(pooled_url) as url:
        code, found = await doctor(capsys, "--url", url)
    assert code == 1
    assert "PgBouncer" in found["ready"]["text"]


async def test_a_server_that_asks_for_credentials_is_shown_one(
    safe: EmbeddedPostgres, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "key"
    async with quick_server(safe.url, auth_enabled=True) as url:
        code, found = await doctor(capsys, "--url", url)
        assert (code, found["stream"]["state"]) == (2, "unchecked")
        key = create_key(safe.url, "doctor", Grant(admin=True))
        file.write_text(key)
        async with httpx.AsyncClient(headers={"x-api-key": key}) as client:

            async def is_known() -> bool:
                return (await client.get(url + "/api/v1/flags")).status_code == httpx.codes.OK

            await until(is_known, "the server's reading of the key")
        code, found = await doctor(
            capsys,
            "--database-url",
            safe.url,
            "--url",
            url,
            "--credential-file",
            str(file),
            FLAGENT_CDC_AUTH_ENABLED="true",
        )
        assert (code, found) == (0, {})


# -- settings and machine --------------------------------------------------------------------------------------


async def test_a_door_without_keys_is_named(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, found = await doctor(capsys, "--database-url", database_url, FLAGENT_CDC_AUTH_ENABLED="true")
    assert "all requests will be rejected" in found["keys"]["text"]


async def test_keys_that_cannot_be_read_are_named(
    postgres: Postgres, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    create_key(database_url, "web", Grant())
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("""update flagent_cdc.api_key set scopes = '{"colour": "red"}'""")
    _, found = await doctor(capsys, "--database-url", database_url, FLAGENT_CDC_AUTH_ENABLED="true")
    assert "scopes cannot be read" in found["keys"]["text"]


async def test_published_keys_that_cannot_be_read_are_named(
    database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "jwks.json"
    file.write_text("no JSON")
    for place in (str(file), "https://127.0.0.1:1/jwks.json"):
        _, found = await doctor(capsys, "--database-url", database_url, FLAGENT_CDC_AUTH_JWT_JWKS=place)
        assert place in found["jwks"]["text"]


async def test_an_open_door_is_named(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, found = await doctor(capsys, "--database-url", database_url, FLAGENT_CDC_HOST="0.0.0.0")
    assert "does not start" in found["authentication"]["text"]


async def test_too_few_descriptors_are_named(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
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


async def test_certificates_that_cannot_be_used_are_named(
    safe: EmbeddedPostgres, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, good_key = certificate(tmp_path, "good", 90)
    ended, ended_key = certificate(tmp_path, "ended", -1)

    async def found(cert: str, key: str) -> str:
        _, findings = await doctor(
            capsys, "--database-url", safe.url, FLAGENT_CDC_TLS_CERT=cert, FLAGENT_CDC_TLS_KEY=key
        )
        return str(findings.get("certificate", {}).get("text", ""))

    assert await found(good, good_key) == ""
    assert "has expired" in await found(ended, ended_key)
    assert "does not match" in await found(good, ended_key)
    assert "FLAGENT_CDC_TLS_KEY is missing" in await found(good, "")
