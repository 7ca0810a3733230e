"""What Prometheus is told by a real server, read with its own parser."""

import asyncio
import os
import signal
from collections.abc import Iterator

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse
from websockets.asyncio.client import connect

from cdc.admin.api_keys import create_key
from cdc.core.subscription.grant import Grant
from cdc.observe.metrics import FAMILIES, PREFIX
from cdc.source.memory import MemoryLog
from tests.fixtures.flags import Writer
from tests.fixtures.server import RunningServer, ServerProcess, serving, sse, until

Numbers = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def writer(database_url: str) -> Iterator[Writer]:
    with Writer(database_url) as writer:
        yield writer


async def scrape(url: str, **headers: str) -> Numbers:
    async with httpx.AsyncClient() as client:
        answer = await client.get(url + "/metrics", headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse(answer.text)
        for sample in family.samples
    }


def total(numbers: Numbers, name: str, **labels: str) -> float:
    """The sum over all workers, of those samples that have these labels."""
    wanted = set(labels.items())
    return sum(value for (found, its), value in numbers.items() if found == PREFIX + name and wanted <= its)


async def test_every_metric_of_the_manual_is_told_by_a_server_that_has_seen_something(
    database_url: str, writer: Writer
) -> None:
    """Refusals and the log's age are told once there are any, exposures where they are taken."""
    writer.flag("a")
    async with serving(database_url, exposures_enabled=True) as server, httpx.AsyncClient() as client:
        assert (await client.get(server.stream_url + "?type=nothing")).status_code == 400
        told = {name for name, _ in await scrape(server.url)}
    for family in FAMILIES:
        suffix = "_count" if family.kind == "histogram" else ""
        assert family.exposed + suffix in told
    assert {"process_cpu_seconds_total", "process_open_fds", "process_resident_memory_bytes"} <= told


async def test_what_happened_is_counted(server: RunningServer, writer: Writer) -> None:
    async with sse(server.stream_url) as everything, sse(server.stream_url, {"flag": "b", "stamps": "true"}) as of_b:
        for key in ("a", "b"):
            writer.flag(key)
            await everything.next()
        await of_b.next()
        async with connect(server.websocket_url):
            numbers = await scrape(server.url)
            assert total(numbers, "subscribers", transport="sse") == 2
            assert total(numbers, "subscribers", transport="websocket") == 1
    assert total(numbers, "events_total", type="flag_created") == 2
    assert total(numbers, "deliveries_total") == 3
    assert total(numbers, "sent_bytes_total") > 1000
    assert total(numbers, "position") == total(numbers, "change_log_newest_position") == 3
    assert total(numbers, "flags") == 2
    assert total(numbers, "ring_events") == 2
    assert total(numbers, "fresh") == total(numbers, "ready") == 1
    assert total(numbers, "listener_state", state="listening") == 1
    assert total(numbers, "listener_state") == 1
    assert total(numbers, "change_log_bytes") > 0
    # Two commits, and however long they took, none took longer than for ever.
    assert total(numbers, "commit_to_send_seconds_count") == 2
    assert total(numbers, "commit_to_send_seconds_bucket", le="+Inf") == 2
    assert total(numbers, "commit_to_send_seconds_sum") > 0

    async def all_gone() -> bool:
        return total(await scrape(server.url), "subscribers") == 0

    await until(all_gone, "the end of all streams")


async def test_refusals_resyncs_and_evaluations_are_counted_once(
    database_url: str, writer: Writer, with_handover: bool
) -> None:
    flag = writer.static_flag("a", "on")
    async with (
        serving(database_url, with_handover=with_handover, sse_max_clients=1) as server,
        sse(server.stream_url, last_event_id="nonsense"),
        httpx.AsyncClient() as client,
    ):
        assert (await client.get(server.stream_url)).status_code == 503
        assert (await client.get(server.stream_url + "?type=nothing")).status_code == 400
        question = {"flagID": flag, "entityID": "x", "entityContext": {}}
        await client.post(server.url + "/api/v1/evaluation", json=question)
        batch = {"flagIDs": [flag], "entities": [{"entityID": "x"}, {"entityID": "y"}]}
        await client.post(server.url + "/api/v1/evaluation/batch", json=batch)
        numbers = await scrape(server.url)
    assert total(numbers, "connections_refused_total", transport="sse", code="too_many_connections") == 1
    assert total(numbers, "connections_refused_total") == 2
    assert total(numbers, "resyncs_total", reason="unknown_id") == 1
    assert total(numbers, "resyncs_total") == 1
    assert total(numbers, "evaluations_total") == 3


async def test_openmetrics_is_spoken_to_who_asks_for_it(memory_server: RunningServer) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.get(
            memory_server.url + "/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"}
        )
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert PREFIX + "subscribers" in {family.name for family in parse_openmetrics(answer.text)}  # type: ignore[no-untyped-call]


async def test_the_right_to_see_the_inside_is_needed(database_url: str) -> None:
    keys = {name: create_key(database_url, name, grant) for name, grant in GRANTS.items()}
    async with serving(database_url, auth_enabled=True) as server, httpx.AsyncClient(base_url=server.url) as client:

        async def status(key: str | None) -> int:
            headers = {} if key is None else {"authorization": f"Bearer {key}"}
            return (await client.get("/metrics", headers=headers)).status_code

        assert await status(None) == 401
        assert await status(keys["reads all"]) == 403
        assert await status(keys["reads some"]) == 403
        assert await status(keys["runs the server"]) == 200


GRANTS = {
    "reads all": Grant(),
    "reads some": Grant(flags=frozenset({"a"})),
    "runs the server": Grant(admin=True),
}


async def test_it_can_be_switched_off(memory_log: MemoryLog) -> None:
    async with serving(memory_log, web_metrics_enabled=False) as server, httpx.AsyncClient() as client:
        assert (await client.get(server.url + "/metrics")).status_code == 404


async def test_whichever_worker_is_asked_answers_for_all(database_url: str, writer: Writer) -> None:
    process = ServerProcess(database_url, FLAGENT_CDC_WORKERS="3")
    process.start()
    try:
        await process.ready()

        async def all_up() -> bool:
            numbers = await scrape(process.url)
            return total(numbers, "ready") == total(numbers, "worker_up") == 3

        await until(all_up, "three workers")
        streams = [sse(process.url + "/api/v1/events/stream") for _ in range(8)]
        readers = [await stream.__aenter__() for stream in streams]
        try:
            writer.flag("a")
            for reader in readers:
                await reader.next()
            # Each scrape is a connection of its own, and the kernel chooses who takes it.
            for _ in range(6):
                numbers = await scrape(process.url)
                assert total(numbers, "subscribers") == 8
                assert total(numbers, "deliveries_total") == 8
                assert total(numbers, "worker_up") == 3
        finally:
            for stream in streams:
                await stream.__aexit__(None, None, None)
    finally:
        process.kill_tree()


async def test_a_worker_that_hangs_is_told_as_such(database_url: str) -> None:
    process = ServerProcess(database_url, FLAGENT_CDC_WORKERS="2")
    process.start()
    stopped: int | None = None
    try:
        await process.ready()
        stopped = process.workers()[1]
        os.kill(stopped, signal.SIGSTOP)

        async def one_scrape() -> bool:
            # It may reach the worker that hangs: then it gets no answer at all.
            try:
                async with asyncio.timeout(8):
                    numbers = await scrape(process.url)
            except (TimeoutError, httpx.TransportError):
                return False
            return total(numbers, "worker_up", worker="0") == 1 and total(numbers, "worker_up", worker="1") == 0

        async def is_missed() -> bool:
            return any(await asyncio.gather(*(one_scrape() for _ in range(8))))

        await until(is_missed, "the missing worker", 40)
    finally:
        if stopped is not None:
            os.kill(stopped, signal.SIGCONT)
        process.kill_tree()
