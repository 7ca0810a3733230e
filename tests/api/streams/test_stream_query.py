"""What a query string selects, and how a wrong one is refused."""

import httpx
import pytest

from api.http.problem import Problem
from api.streams.stream_query import own_endpoint, parse_query, realtime_endpoint, refetch_endpoint
from cdc.core.subscription.selection import Selection
from cdc.core.wire.dialect import ENVELOPES, EVENTS
from cdc.core.wire.ofrep import REFETCH
from cdc.core.wire.realtime import REALTIME
from tests.fixtures.server import RunningServer


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("flog=a", ("flog", "flag, flagID")),
        ("batchMs=soon", ("batchMs", '"soon"', "0 to 10000")),
        ("type=flag_changed", ("type", "flag_changed", "flag_updated")),
        ("flagID=x", ("flagID", '"x"')),
        ("snapshot=maybe", ("snapshot", "maybe", "true")),
        ("overflow=explode", ("overflow", "explode", "resync")),
        ("flag=%ff", ("query string", "UTF-8")),
    ],
)
async def test_bad_parameters_get_one_clear_sentence(
    memory_server: RunningServer, query: str, words: tuple[str, ...]
) -> None:
    async with httpx.AsyncClient() as client:
        response = await client.get(f"{memory_server.stream_url}?{query}")
    problem = response.json()
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["status"] == 400
    assert problem["code"]
    for word in words:
        assert word in problem["detail"]


async def test_either_way_a_bad_parameter_is_refused_with_a_problem(either_memory_server: RunningServer) -> None:
    async with httpx.AsyncClient() as client:
        response = await client.get(f"{either_memory_server.stream_url}?flog=a")
    assert (response.status_code, response.headers["content-type"]) == (400, "application/problem+json")
    assert response.json()["status"] == 400
    assert "flog" in response.json()["detail"]


def test_the_own_endpoint_reads_every_parameter_but_the_id_and_the_token() -> None:
    request, dialect, event_id = parse_query(own_endpoint, b"flag=a&tag=t&snapshot=true&lastEventId=5-0%40log&token=x")
    assert request.selection == Selection.of(flag_keys=["a"], tags=["t"])
    assert request.snapshot
    assert request.last_event_id is None
    assert (dialect, event_id) == (EVENTS, "5-0@log")
    assert parse_query(own_endpoint, b"envelope=true")[1] is ENVELOPES


def test_the_realtime_endpoint_ignores_what_flagent_ignores() -> None:
    request, dialect, _ = parse_query(realtime_endpoint, b"flagKey=a&flagKey=b&flagID=x&nonsense=1")
    assert request.selection == Selection.of(flag_keys=["a", "b"])
    assert dialect is REALTIME
    both = parse_query(realtime_endpoint, b"flagKey=a&flagID=%2B07&flagID=x&flagID=99999999999")[0]
    assert both.selection == Selection.of(flag_keys=["a"], within_ids=[7, 99999999999])
    assert parse_query(realtime_endpoint, b"flagID=7&flagID=-1")[0].selection == Selection.of(flag_ids=[7, -1])


def test_the_realtime_endpoint_begins_with_a_notice_whatever_it_selects() -> None:
    for query in (b"", b"flagKey=a", b"flagID=7", b"flagKey=a&flagID=7"):
        assert parse_query(realtime_endpoint, query)[0].snapshot, query


def test_the_refetch_endpoint_begins_with_a_notice_about_everything() -> None:
    request, dialect, _ = parse_query(refetch_endpoint, b"whatever=1")
    assert (request.selection, request.snapshot, dialect) == (Selection.of(), True, REFETCH)


def test_clients_with_the_same_query_share_one_selection() -> None:
    shared = parse_query(own_endpoint, b"flag=shared")
    assert parse_query(own_endpoint, b"flag=shared")[0] is shared[0]
    for query in (b"flag=a&token=x", b"flag=a&lastEventId=5-0%40log", b"flag=" + b"a" * 256):
        assert parse_query(own_endpoint, query)[0] is not parse_query(own_endpoint, query)[0]


def test_the_same_query_means_something_else_on_another_endpoint() -> None:
    assert parse_query(own_endpoint, b"")[1] is EVENTS
    assert parse_query(realtime_endpoint, b"")[1] is REALTIME


def test_an_invalid_value_is_a_problem_that_names_the_parameter() -> None:
    for _ in range(2):
        with pytest.raises(Problem) as caught:
            parse_query(own_endpoint, b"batchMs=soon")
        assert caught.value.fields == {"parameter": "batchMs"}
