"""Every way to send a credential, and that none is logged."""

import base64
import json
import logging
from collections.abc import Iterator

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from api.access.credential import header_credential, query_token
from api.http.problem import Problem
from cdc.admin.api_keys import create_key, revoke_key
from cdc.core.subscription.grant import Grant
from cdc.observe import log_format as logs
from tests.fixtures.authenticated import SECRET, ask, client, hear, token, until_known
from tests.fixtures.server import RunningServer, serving, sse


@pytest.mark.parametrize("kind", ["api key", "token"])
async def test_every_way_to_send_a_credential_opens_a_stream(
    either_server: RunningServer, database_url: str, kind: str
) -> None:
    credential = token() if kind == "token" else create_key(database_url, "k", Grant())
    if kind == "api key":
        await until_known(either_server, credential)
    for name, value in (
        ("authorization", f"Bearer {credential}"),
        ("x-api-key", credential),
        ("cookie", f"other=1; access_token={credential}"),
    ):
        async with sse(either_server.stream_url, **{name: value}):
            pass
        async with connect(either_server.websocket_url, additional_headers={name: value}) as socket:
            assert (await ask(socket, type="subscribe"))["type"] == "subscribed"
        async with client(either_server) as http:
            assert (await http.get("/api/v1/flags", headers={name: value})).status_code == 200


async def test_a_browser_sends_its_key_as_a_subprotocol_that_is_not_sent_back(
    either_memory_server: RunningServer,
) -> None:
    encoded = base64.urlsafe_b64encode(token().encode()).decode().rstrip("=")
    offers = [Subprotocol("flagent.v1"), Subprotocol(f"flagent.key.{encoded}")]
    async with connect(either_memory_server.websocket_url, subprotocols=offers) as socket:
        assert socket.subprotocol == "flagent.v1"
        assert (await ask(socket, type="subscribe"))["type"] == "subscribed"
    with pytest.raises(InvalidStatus):
        async with connect(
            either_memory_server.websocket_url, subprotocols=[offers[0], Subprotocol("flagent.key.bm9uZQ")]
        ):
            pass


class Record(logging.Handler):
    """Every record as it would be written, in both forms."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.getMessage()} {vars(record)}")


@pytest.fixture
def everything_logged() -> Iterator[Record]:
    """All that is logged at the most talkative level that can be chosen."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in ("uvicorn", "httpx2", "httpcore2", "alembic")}
    logs.configure("debug", "text")
    record = Record()
    root.addHandler(record)
    # The test's own clients are no part of the server.
    for name in ("httpx", "httpcore", "websockets.client"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        yield record
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        for name, before in levels.items():
            logging.getLogger(name).setLevel(before)


async def test_no_credential_is_ever_logged(everything_logged: Record, database_url: str, with_handover: bool) -> None:
    key, wrong = create_key(database_url, "k", Grant()), "fla_cdc_aaaaaaaa_" + "x" * 43
    good = token()
    secrets = [key, wrong, good]
    async with serving(
        database_url, with_handover=with_handover, auth_jwt_secret=SECRET, sse_keep_alive_s=0.2
    ) as server:
        async with client(server, key) as http:
            given = (await http.post("/api/v1/stream-tokens")).json()["token"]
            secrets.append(given)
        async with sse(server.stream_url, {"token": given}):
            pass
        for credential in (key, wrong, good, given):
            for headers in (
                {"authorization": f"Bearer {credential}"},
                {"x-api-key": credential},
                {"cookie": f"access_token={credential}"},
            ):
                async with client(server) as http:
                    for path in ("/api/v1/flags", "/api/v1/events/stream"):
                        async with http.stream("GET", path, headers=headers):
                            pass
                try:
                    async with connect(server.websocket_url, additional_headers=headers) as socket:
                        await ask(socket, type="subscribe")
                except InvalidStatus:
                    assert credential in (wrong, given)
            encoded = base64.urlsafe_b64encode(credential.encode()).decode().rstrip("=")
            secrets.append(encoded)
            offers = [Subprotocol("flagent.v1"), Subprotocol(f"flagent.key.{encoded}")]
            try:
                async with connect(server.websocket_url, subprotocols=offers):
                    pass
            except InvalidStatus:
                assert credential in (wrong, given)
            for path in (f"?token={credential}", f"?snapshot=x&token={credential}"):
                async with client(server) as http:
                    await http.get(server.stream_url + path)
                with pytest.raises(InvalidStatus):
                    async with connect(server.websocket_url + path):
                        pass
            async with connect(server.websocket_url) as socket:
                await ask(socket, type="auth", token=credential)
            async with connect(server.websocket_url) as socket:
                await socket.send(json.dumps({"type": "auth", "tokn": credential}))
                await hear(socket)
        revoke_key(database_url, key)
    assert any("api_keys_read" in line for line in everything_logged.lines)
    for line in everything_logged.lines:
        for secret in (*secrets, SECRET):
            assert secret not in line
            # A random part may have an underscore near its end; what stands behind it then is in many a line.
            assert len(secret.rpartition("_")[2]) < 16 or secret.rpartition("_")[2] not in line


HEADERS = {
    "bearer": (b"authorization", b"Bearer from-bearer"),
    "key": (b"x-api-key", b" from-key "),
    "subprotocol": (
        b"sec-websocket-protocol",
        b"flagent.v1, flagent.key." + base64.urlsafe_b64encode(b"from-subprotocol"),
    ),
    "cookie": (b"cookie", b'other=1; access_token="from-cookie"'),
}


def test_the_order_of_precedence_does_not_depend_on_the_order_of_headers() -> None:
    places = list(HEADERS)
    for first in range(len(places)):
        headers = [HEADERS[place] for place in reversed(places[first:])]
        assert header_credential(headers, "access_token") == f"from-{places[first]}"
    assert header_credential([], "access_token") is None


def test_a_cookie_counts_only_by_its_name_and_where_cookies_are_read() -> None:
    assert header_credential([HEADERS["cookie"]], None) is None
    assert header_credential([HEADERS["cookie"]], "session") is None
    assert header_credential([(b"cookie", b"a=b"), (b"cookie", b"session=x")], "session") == "x"


def test_only_the_scheme_bearer_is_a_credential() -> None:
    assert header_credential([(b"authorization", b"Basic dXNlcg==")], None) is None
    assert header_credential([(b"authorization", b"BEARER  x ")], None) == "x"


def test_a_subprotocol_that_is_not_base64url_is_an_unknown_key() -> None:
    assert header_credential([(b"sec-websocket-protocol", b"flagent.key.a")], None) == ""
    assert header_credential([(b"sec-websocket-protocol", b"flagent.v1, chat")], None) is None


def test_the_stream_token_is_read_from_the_query() -> None:
    assert query_token(b"flag=a&token=fla_st_x%2B") == "fla_st_x+"
    assert query_token(b"flag=a") is None
    assert query_token(b"mytoken=x") is None
    with pytest.raises(Problem, match="invalid_query"):
        query_token(b"token=%ff")
