"""OFREP over HTTP: answers, errors, ETags, and the stream of refetch notices."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import Any

import httpx
import jwt
import pytest

from cdc.core.log.position import EventId
from cdc.core.subscription.grant import Grant
from cdc.source.memory import MemoryLog
from tests.fixtures.authenticated import SECRET, token
from tests.fixtures.flags import Writer
from tests.fixtures.memory import MemoryWriter
from tests.fixtures.server import DEADLINE_S, RunningServer, SseEvent, SseReader, serving, until

BULK = "/ofrep/v1/evaluate/flags"
CONTEXT = {"context": {"targetingKey": "u1", "country": "US"}}

# The schema of OFREP 0.3: names and values beyond these are not allowed, or unknown to providers.
REASONS = {"STATIC", "TARGETING_MATCH", "SPLIT", "DISABLED", "UNKNOWN"}
ERROR_CODES = {"PARSE_ERROR", "TARGETING_KEY_MISSING", "INVALID_CONTEXT", "GENERAL", "FLAG_NOT_FOUND"}


@pytest.fixture
def writer(database_url: str) -> Iterator[Writer]:
    with Writer(database_url) as writer:
        yield writer


@pytest.fixture
async def client(server: RunningServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url, timeout=DEADLINE_S) as client:
        yield client


async def caught_up(server: RunningServer) -> EventId:
    newest = await server.pipeline.newest_position()
    assert await server.pipeline.hub.reached(newest, DEADLINE_S)
    return server.pipeline.hub.here()


def conforms(evaluated: dict[str, Any]) -> bool:
    """evaluationSuccess of the OpenAPI document."""
    return (
        evaluated.keys() <= {"key", "value", "reason", "variant", "metadata"}
        and isinstance(evaluated["key"], str)
        and evaluated["reason"] in REASONS
        and isinstance(evaluated.get("variant", ""), str)
        and isinstance(evaluated.get("value", ""), str | bool)
        and all(isinstance(value, str | bool | int | float) for value in evaluated["metadata"].values())
    )


# -- answers ----------------------------------------------------------------------------------------------------------


async def test_one_flag_and_all_flags_are_answered_alike(
    server: RunningServer, writer: Writer, client: httpx.AsyncClient
) -> None:
    writer.static_flag("team/checkout:v2", "on", "off")
    writer.run("""update variants set attachment = '{"color": "blue", "size": 5}' where key = 'on'""")
    writer.static_flag("theme", "dark", "light")
    writer.static_flag("asleep", "on", enabled=False)
    writer.flag("nobody", enabled=True)
    await caught_up(server)
    expected: list[dict[str, Any]] = [
        {
            "key": "team/checkout:v2",
            "value": True,
            "reason": "STATIC",
            "variant": "on",
            "metadata": {"color": "blue", "size": "5", "flagID": 1, "snapshotID": 0},
        },
        {
            "key": "theme",
            "value": "dark",
            "reason": "STATIC",
            "variant": "dark",
            "metadata": {"flagID": 2, "snapshotID": 0},
        },
        {"key": "asleep", "reason": "DISABLED", "variant": "", "metadata": {"flagID": 3, "snapshotID": 0}},
        {"key": "nobody", "reason": "UNKNOWN", "variant": "", "metadata": {"flagID": 4, "snapshotID": 0}},
    ]
    assert all(conforms(one) for one in expected)
    every = await client.post(BULK, json=CONTEXT)
    assert (every.status_code, every.headers["content-type"]) == (200, "application/json")
    assert every.json()["flags"] == expected
    for path in ("team%2Fcheckout%3Av2", "team/checkout:v2"):
        assert (await client.post(f"{BULK}/{path}", json=CONTEXT)).json() == expected[0]
    for one in expected[1:]:
        assert (await client.post(f"{BULK}/{one['key']}", json=CONTEXT)).json() == one


async def test_constraints_see_the_context(server: RunningServer, writer: Writer, client: httpx.AsyncClient) -> None:
    flag_id = writer.flag("adults", enabled=True)
    segment_id = writer.segment(flag_id)
    writer.constraint(segment_id, "age", "GTE", "18")
    writer.share(segment_id, writer.variant(flag_id, "on"))
    await caught_up(server)
    for age, reason in (
        (18, "TARGETING_MATCH"),
        ("40", "TARGETING_MATCH"),
        (17.5, "UNKNOWN"),
        ({"years": 18}, "UNKNOWN"),
    ):
        body = {"context": {"targetingKey": "u1", "age": age}}
        assert (await client.post(f"{BULK}/adults", json=body)).json()["reason"] == reason, age


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "PARSE_ERROR"),
        (b"", "PARSE_ERROR"),
        (b'{"context":NaN}', "PARSE_ERROR"),
        (b"\xff", "PARSE_ERROR"),
        (b"[]", "INVALID_CONTEXT"),
        (b'{"context":[]}', "INVALID_CONTEXT"),
        (b'{"context":{"targetingKey":{}}}', "INVALID_CONTEXT"),
        (b'{"context":{"targetingKey":"\\ud800"}}', "INVALID_CONTEXT"),
        (b'{"context":{}}', "TARGETING_KEY_MISSING"),
    ],
)
async def test_a_bad_request_has_openfeatures_error_code(client: httpx.AsyncClient, body: bytes, code: str) -> None:
    assert code in ERROR_CODES
    every = await client.post(BULK, content=body)
    assert every.status_code == 400
    assert every.json().keys() == {"errorCode", "errorDetails"}
    assert every.json()["errorCode"] == code
    one = await client.post(f"{BULK}/a", content=body)
    assert one.status_code == 400
    assert one.json() == {"key": "a", **every.json()}


async def test_an_unknown_flag_is_not_found(client: httpx.AsyncClient) -> None:
    response = await client.post(f"{BULK}/missing", json=CONTEXT)
    assert response.status_code == 404
    answer = response.json()
    assert (answer["key"], answer["errorCode"]) == ("missing", "FLAG_NOT_FOUND")
    assert "missing" in answer["errorDetails"]


async def test_a_schema_that_is_not_attached_is_refused(client: httpx.AsyncClient) -> None:
    for path in (BULK, f"{BULK}/a"):
        response = await client.post(path, params={"schema": "nowhere"}, json=CONTEXT)
        assert response.status_code == 404
        assert response.json()["code"] == "unknown_schema"


# -- ETags ------------------------------------------------------------------------------------------------------------


async def test_what_has_not_changed_for_this_entity_is_not_sent_again(
    server: RunningServer, writer: Writer, client: httpx.AsyncClient
) -> None:
    writer.static_flag("a", "on", "off")
    await caught_up(server)
    first = await client.post(BULK, json=CONTEXT)
    held = {"if-none-match": first.headers["etag"]}
    again = await client.post(BULK, json=CONTEXT, headers=held)
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])

    writer.run("update flags set notes = 'nobody sees these'")
    here = await caught_up(server)
    unchanged = await client.post(BULK, json=CONTEXT, headers=held, params={"flagConfigEtag": str(here)})
    assert unchanged.status_code == 304

    writer.toggle(1)
    await caught_up(server)
    changed = await client.post(BULK, json=CONTEXT, headers=held)
    assert changed.status_code == 200
    assert changed.headers["etag"] != first.headers["etag"]


async def test_a_refetch_waits_for_the_position_of_its_notice(
    server: RunningServer, writer: Writer, client: httpx.AsyncClient
) -> None:
    writer.static_flag("a", "on", enabled=False)
    here = await caught_up(server)
    coming = EventId(type(here.position)(here.position + 1), None, here.log)
    waiting = asyncio.create_task(client.post(BULK, json=CONTEXT, params={"flagConfigEtag": f'"{coming}"'}))
    await until(lambda: server.pipeline.hub.here() == here and not waiting.done(), "the refetch's waiting")
    writer.toggle(1)
    assert (await waiting).json()["flags"][0]["value"] is True


@pytest.mark.parametrize("etag", ["nonsense", "9@other1", ""])
async def test_an_etag_of_somebody_else_does_not_keep_a_refetch_waiting(client: httpx.AsyncClient, etag: str) -> None:
    params = {"flagConfigEtag": etag, "flagConfigLastModified": "1795420800"}
    async with asyncio.timeout(1.5):
        assert (await client.post(BULK, json=CONTEXT, params=params)).status_code == 200


async def test_a_position_that_never_comes_is_answered_with_what_there_is(
    server: RunningServer, client: httpx.AsyncClient
) -> None:
    far = EventId(type(server.pipeline.hub.here().position)(10**9), None, server.pipeline.hub.here().log)
    assert (await client.post(BULK, json=CONTEXT, params={"flagConfigEtag": str(far)})).json()["flags"] == []


# -- the stream -------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def notices(client: httpx.AsyncClient, last_event_id: str | None = None) -> AsyncIterator[SseReader]:
    """The stream that the answer to a bulk evaluation names."""
    (stream,) = (await client.post(BULK, json=CONTEXT)).json()["eventStreams"]
    assert stream == {"type": "sse", "endpoint": stream["endpoint"], "inactivityDelaySec": 120}
    assert stream["endpoint"].keys() == {"requestUri"}
    headers = {"accept-encoding": "identity"} | ({} if last_event_id is None else {"last-event-id": last_event_id})
    async with client.stream("GET", stream["endpoint"]["requestUri"], headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        yield SseReader(response)


def etag_of(notice: SseEvent) -> str:
    assert notice.type == "message"
    assert notice.data["type"] == "refetchEvaluation"
    assert notice.data["etag"] == notice.id
    etag: str = notice.data["etag"]
    return etag


async def test_a_new_stream_begins_with_a_notice_and_each_commit_is_one(
    server: RunningServer, writer: Writer, client: httpx.AsyncClient
) -> None:
    writer.static_flag("a", "on")
    here = await caught_up(server)
    async with notices(client) as reader:
        assert etag_of(await reader.next()) == str(here)
        writer.run(
            "insert into flags (key, description, enabled, created_at)"
            " values ('b', '', true, now()), ('c', '', true, now())",
            "update flags set enabled = false where key = 'a'",
            "update segments set rollout_percent = 50",
        )
        writer.toggle(1)
        for position in (here.position + 1, here.position + 2):
            notice = await reader.next()
            assert etag_of(notice).startswith(f"{position}@{here.log}.")
            assert isinstance(notice.data["lastModified"], int)
            refetch = await client.post(BULK, json=CONTEXT, params={"flagConfigEtag": notice.data["etag"]})
            assert len(refetch.json()["flags"]) == 3


async def test_a_stream_that_comes_back_is_told_what_it_missed_and_no_more(
    server: RunningServer, writer: Writer, client: httpx.AsyncClient
) -> None:
    writer.flag("a")
    here = await caught_up(server)
    async with notices(client) as reader:
        await reader.next()
        last = reader.last_id
    for _ in range(3):
        writer.toggle(1)
    await caught_up(server)
    async with notices(client, last) as reader:
        told = [etag_of(await reader.next()) for _ in range(3)]
    assert [id.rpartition(".")[0] for id in told] == [f"{here.position + number}@{here.log}" for number in (1, 2, 3)]
    async with notices(client, told[-1]) as reader:
        writer.toggle(1)
        assert etag_of(await reader.next()).startswith(f"{here.position + 4}@{here.log}.")


async def test_an_id_that_cannot_be_continued_from_is_one_notice(
    server: RunningServer, writer: Writer, client: httpx.AsyncClient
) -> None:
    writer.flag("a")
    here = await caught_up(server)
    for id in ("nonsense", "1@other1", f"999999@{here.log}"):
        async with notices(client, id) as reader:
            assert etag_of(await reader.next()) == str(here)


async def test_keep_alives_move_the_id_and_dispatch_nothing(database_url: str) -> None:
    async with (
        serving(database_url, sse_keep_alive_s=0.1) as server,
        httpx.AsyncClient(base_url=server.url) as client,
        notices(client) as reader,
    ):
        await reader.next()
        while "keep-alive" not in (block := await reader.next_block()).comment:
            pass
        assert (block.data, block.id) == (None, str(server.pipeline.hub.here()))


# -- the address of the stream ---------------------------------------------------------------------------------------


async def addresses(http: httpx.AsyncClient, forwarded_prefix: str | None = None) -> list[str]:
    headers = {} if forwarded_prefix is None else {"x-forwarded-prefix": forwarded_prefix}
    answer = await http.post(BULK, json=CONTEXT, headers=headers)
    assert answer.status_code == 200
    return [stream["endpoint"]["requestUri"] for stream in answer.json()["eventStreams"]]


async def test_the_address_is_below_the_prefix_that_a_trusted_proxy_removes(memory_log: MemoryLog) -> None:
    loopback = (ip_network("127.0.0.0/8"),)
    for settings, forwarded, expected in (
        ({"limits_trusted_proxies": loopback}, "/flags", "/flags/ofrep/v1/events"),
        ({"limits_trusted_proxies": loopback}, "/outer/, /inner", "/outer/inner/ofrep/v1/events"),
        ({"limits_trusted_proxies": loopback}, "//evil.example", "/ofrep/v1/events"),
        ({"limits_trusted_proxies": loopback, "web_path_prefix": "/set"}, "//evil.example", "/set/ofrep/v1/events"),
        ({"limits_trusted_proxies": loopback, "web_path_prefix": "/set"}, "/flags", "/flags/ofrep/v1/events"),
        ({"web_path_prefix": "/set"}, "/flags", "/set/ofrep/v1/events"),
        ({}, "/flags", "/ofrep/v1/events"),
    ):
        async with serving(memory_log, **settings) as server, httpx.AsyncClient(base_url=server.url) as http:
            assert await addresses(http, forwarded) == [expected], (settings, forwarded)


async def test_without_the_stream_there_is_no_address_of_it(memory_log: MemoryLog) -> None:
    async with serving(memory_log, sse_enabled=False) as server, httpx.AsyncClient(base_url=server.url) as http:
        assert await addresses(http) == []


async def test_the_address_opens_the_stream_with_the_rights_of_the_request(
    memory_log: MemoryLog, with_handover: bool
) -> None:
    writer = MemoryWriter(memory_log)
    async with serving(memory_log, auth_jwt_secret=SECRET, with_handover=with_handover) as server:
        async with httpx.AsyncClient(
            base_url=server.url, headers={"authorization": f"Bearer {token(flags=['mine'])}"}
        ) as http:
            (uri,) = await addresses(http)
            (other,) = await addresses(http)
        async with httpx.AsyncClient(base_url=server.url, headers={"accept-encoding": "identity"}) as browser:
            elsewhere = await browser.get("/api/v1/events/stream?" + other.partition("?")[2])
            assert (elsewhere.status_code, elsewhere.json()["detail"]) == (
                403,
                "this stream token was made for another path",
            )
            async with browser.stream("GET", uri) as response:
                assert response.status_code == 200
                stream = SseReader(response)
                etag_of(await stream.next())
                writer.flag("other")
                writer.flag("mine")
                assert etag_of(await stream.next()).startswith(f"{server.pipeline.hub.catalog.position}@")
            again = await browser.get(uri)
            assert (again.status_code, again.json()["code"]) == (401, "token_used")


async def test_with_credentials_only_a_client_that_has_a_stream_gets_304(
    memory_log: MemoryLog,
) -> None:
    """Any other needs the new token of a whole answer."""
    async with (
        serving(memory_log, auth_jwt_secret=SECRET) as server,
        httpx.AsyncClient(base_url=server.url, headers={"authorization": f"Bearer {token()}"}) as http,
    ):
        first, second = await http.post(BULK, json=CONTEXT), await http.post(BULK, json=CONTEXT)
        assert first.headers["etag"] == second.headers["etag"]
        assert first.json()["eventStreams"] != second.json()["eventStreams"]
        assert first.headers["cache-control"] == "private, no-store"
        known = {"if-none-match": first.headers["etag"]}
        assert (await http.post(BULK, json=CONTEXT, headers=known)).status_code == 200
        notice = {"flagConfigEtag": str(server.pipeline.hub.here())}
        assert (await http.post(BULK, json=CONTEXT, headers=known, params=notice)).status_code == 304


async def test_a_credential_whose_scopes_do_not_fit_into_a_token_gets_no_address(memory_log: MemoryLog) -> None:
    wide = Grant(flags=frozenset(f"{'x' * 200}{number}" for number in range(100)))
    bare = jwt.encode({"sub": "u", "exp": time.time() + 300}, SECRET, "HS256")
    async with (
        serving(memory_log, auth_jwt_secret=SECRET, auth_jwt_default_scopes=wide) as server,
        httpx.AsyncClient(base_url=server.url, headers={"authorization": f"Bearer {bare}"}) as http,
    ):
        assert await addresses(http) == []
