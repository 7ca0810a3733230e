"""Servers as the doctor sees them: real ones, behind real proxies, and addresses without one."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from cdc.admin.api_keys import create_key
from cdc.core.errors import InvalidInput
from cdc.core.subscription.grant import Grant
from cdc.doctor import LogIdentity, Target, read_server
from cdc.doctor.server import _clock_ahead, _greeting
from cdc.embedded.server import EmbeddedPostgres
from tests.fixtures.doctor import doctor, quick_server
from tests.fixtures.reverse_proxy import GOOD, holding_back, nginx
from tests.fixtures.server import serving, until


@pytest.mark.parametrize(
    ("directives", "expected", "words"),
    [
        # The defaults of nginx: HTTP/1.0 to the server, and buffered answers.
        ("proxy_ignore_headers X-Accel-Buffering;", {"buffering", "websocket"}, "nothing of the stream arrives"),
        ("proxy_http_version 1.1; proxy_buffering off;", {"websocket"}, "a WebSocket does not come through"),
        (f"{GOOD} proxy_hide_header Cache-Control;", {"caching"}, "missing"),
        (f"{GOOD} proxy_set_header Accept-Encoding gzip;", {"compression"}, "arrives as gzip"),
    ],
    ids=["buffers", "without upgrade", "drops cache-control", "compresses"],
)
async def test_a_proxy_that_breaks_streams_is_reported(
    database_url: str, capsys: pytest.CaptureFixture[str], directives: str, expected: set[str], words: str
) -> None:
    async with quick_server(database_url) as url:
        with nginx(url, directives) as proxied:
            code, found = await doctor(capsys, "--url", proxied)
    assert code == 1
    errors = {check for check, finding in found.items() if finding["state"] == "error"}
    assert errors == expected
    assert words in " ".join(found[check]["text"] for check in errors)


async def test_a_proxy_that_closes_quiet_connections_is_reported(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(database_url, sse_keep_alive_s=3.0) as server:
        with nginx(server.url, f"{GOOD} proxy_read_timeout 1s;") as proxied:
            code, found = await doctor(capsys, "--url", proxied)
    assert code == 1
    assert "keep-alives do not arrive every 3 s" in found["keep_alive"]["text"]


async def test_a_proxy_that_waits_for_the_end_is_reported(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with quick_server(database_url) as url, holding_back(url) as proxied:
        code, found = await doctor(capsys, "--url", proxied)
    assert code == 1
    assert {"buffering", "websocket"} <= found.keys()


async def test_an_unreachable_server_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = await doctor(capsys, "--url", "http://127.0.0.1:1")
    assert code == 1
    assert found.keys() == {"reachable"}


async def test_a_server_of_another_database_is_reported(
    safe: EmbeddedPostgres, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with quick_server(database_url) as url:
        code, found = await doctor(capsys, "--database-url", safe.url, "--url", url)
    assert code == 1
    assert found.keys() == {"same_log"}


async def test_a_server_behind_a_transaction_pool_is_reported(
    pooled_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with quick_server(pooled_url) as url:
        code, found = await doctor(capsys, "--url", url)
    assert code == 1
    assert "PgBouncer" in found["ready"]["text"]


async def test_a_server_that_requires_credentials_is_sent_one(
    safe: EmbeddedPostgres, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "key"
    async with quick_server(safe.url, auth_enabled=True) as url:
        code, found = await doctor(capsys, "--url", url)
        assert (code, found["stream"]["state"]) == (2, "unchecked")
        key = create_key(safe.url, "doctor", Grant(admin=True), datetime.now(UTC) + timedelta(days=365))
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


@pytest.mark.parametrize("url", ["flags.example", "ftp://flags.example", "http://", ""])
def test_an_address_that_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="is not a server URL") as refused:
        read_server(Target(url), "1.2.0")
    assert (refused.value.name, refused.value.code) == ("--url", "invalid_url")


def test_an_unreachable_server_is_a_fact() -> None:
    facts = read_server(Target("http://127.0.0.1:1/", "secret"), "1.2.0", LogIdentity("k7q2mx", 7))
    assert facts.error
    assert (facts.url, facts.is_exposed, facts.error_is_tls) == ("http://127.0.0.1:1", False, False)
    assert (facts.has_credential, facts.log_in_database, facts.newest_in_database) == (True, "k7q2mx", 7)
    assert "secret" not in str(facts)


@pytest.mark.parametrize(
    ("text", "greeting"),
    [
        ("event: connected\ndata: {}\n\n", {}),
        (': x\n\nevent: connected\ndata: {"position":"7"}\n\nid: 7\n\n', {"position": "7"}),
        ('event: connected\ndata: {"position":"7"}\n', None),
        ("event: connec", None),
        ("", None),
        ("event: connected\ndata: [1]\n\n", {}),
    ],
)
def test_a_greeting_is_read_once_it_is_complete(text: str, greeting: dict[str, str] | None) -> None:
    assert _greeting(text) == greeting


def test_a_missing_or_malformed_date_says_nothing_about_the_clock() -> None:
    assert _clock_ahead(None) is None
    assert _clock_ahead("yesterday") is None
    ahead_s = _clock_ahead("Fri, 01 Jan 2100 00:00:00 GMT")
    assert ahead_s is not None
    assert ahead_s > 0
