"""The server notices what is not captured: it says so once per change, in its log, its status and a metric."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator

import httpx
import psycopg
import pytest

from cdc.admin.installation import migrate
from cdc.admin.watched_tables import WatchOptions, watch
from cdc.errors import DatabaseError
from cdc.postgres.capture_monitor import CaptureMonitor
from cdc.source.cancellation import stop_and_wait
from tests.fixtures.flags import Writer
from tests.fixtures.server import serving, until

MISSING = "capture triggers are missing, disabled or not enabled always: run flagent-cdc migrate"


@pytest.fixture
def writer(database_url: str) -> Iterator[Writer]:
    with Writer(database_url) as writer:
        writer.run("create table orders (id integer primary key)")
        watch(database_url, "orders", WatchOptions())
        yield writer


@pytest.fixture
async def monitor(database_url: str, writer: Writer) -> AsyncIterator[CaptureMonitor]:
    monitor = CaptureMonitor(database_url, interval_s=0.05)
    task = asyncio.create_task(monitor.run())
    yield monitor
    await stop_and_wait([monitor], [task])


def actions(caplog: pytest.LogCaptureFixture) -> list[str]:
    logged = [str(getattr(record, "action", "")) for record in caplog.records]
    return [action for action in logged if action.startswith("capture_")]


async def test_what_is_well_is_silent(monitor: CaptureMonitor, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        await monitor.look()
    assert (monitor.problems, monitor.problem_count, actions(caplog)) == ((), 0, [])


# what breaks the capture, what is said of it
BROKEN = {
    "what a restore with --disable-triggers leaves": (
        ["alter table flags disable trigger all", "alter table flags enable trigger all"],
        [f"public.flags: {MISSING}"],
    ),
    "disabled triggers": (["alter table tags disable trigger flagent_cdc_100_capture"], [f"public.tags: {MISSING}"]),
    "missing triggers": (["drop trigger flagent_cdc_110_capture on variants"], [f"public.variants: {MISSING}"]),
    "a watched table": (
        ["alter table orders disable trigger all", "alter table orders enable trigger all"],
        [
            "public.orders: the trigger flagent_cdc_200_watch is disabled: watch it again",
            "public.orders: the trigger flagent_cdc_230_watch is disabled: watch it again",
        ],
    ),
    "a watched table that is gone": (["drop table orders"], ["public.orders: the table is gone"]),
    "the triggers that give a position": (
        ["alter table flagent_cdc.change_log_first disable trigger flagent_cdc_900_assign_position"],
        [
            "flagent_cdc.change_log_first: the trigger flagent_cdc_900_assign_position is missing, disabled or not "
            "enabled always: run flagent-cdc migrate --repair"
        ],
    ),
    "a table of Flagent's that is gone": (["drop table flags_tags"], ["public.flags_tags: the table is gone"]),
}  # fmt: skip


@pytest.mark.parametrize(("statements", "sentences"), BROKEN.values(), ids=BROKEN.keys())
async def test_what_is_broken_is_said_once(
    statements: list[str],
    sentences: list[str],
    monitor: CaptureMonitor,
    writer: Writer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        writer.run(*statements)
        await until(lambda: monitor.problems, "the problem's notice")
        assert list(monitor.problems) == sentences
        assert monitor.problem_count == len(sentences)
        await monitor.look()
    assert actions(caplog) == ["capture_incomplete"]


async def test_its_end_is_said_too(
    database_url: str, monitor: CaptureMonitor, writer: Writer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        writer.run("alter table flags disable trigger all")
        await until(lambda: monitor.problems, "the problem's notice")
        migrate(database_url)
        await until(lambda: not monitor.problems, "the end of the problem")
    assert actions(caplog) == ["capture_incomplete", "capture_complete"]


async def test_a_server_stays_ready_and_shows_it(database_url: str, writer: Writer) -> None:
    writer.run("alter table flags disable trigger all", "alter table flags enable trigger all")
    async with serving(database_url) as server, httpx.AsyncClient(base_url=server.url) as client:
        await until(lambda: server.pipeline.capture_problems, "the problem's notice")
        response = await client.get("/readyz")
        assert (response.status_code, response.json()["captureProblems"]) == (200, [f"public.flags: {MISSING}"])
        status = (await client.get("/api/v1/status")).json()
        assert status["capture"] == {"problems": [f"public.flags: {MISSING}"]}
        assert 'flagent_cdc_capture_problems{worker="0"} 1.0' in (await client.get("/metrics")).text


async def test_a_role_that_may_only_run_a_server_may_look(database_url: str, writer: Writer) -> None:
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute("create role hostile_reader login password 'hostile'")
    try:
        migrate(database_url, grant_to="hostile_reader")
        writer.run("alter table flags disable trigger all")
        monitor = CaptureMonitor(
            psycopg.conninfo.make_conninfo(database_url, user="hostile_reader", password="hostile")
        )
        await monitor.look()
        assert monitor.problems == (f"public.flags: {MISSING}",)
    finally:
        writer.run("drop owned by hostile_reader", "drop role hostile_reader")


async def test_a_database_without_our_schema_is_an_error_of_ours(empty_url: str) -> None:
    with pytest.raises(DatabaseError):
        await CaptureMonitor(empty_url).look()


async def test_changes_after_enable_trigger_all_come_once(database_url: str, writer: Writer) -> None:
    writer.run("alter table flags disable trigger all", "alter table flags enable trigger all")
    flag = writer.flag("a")
    writer.toggle(flag)
    assert writer.connection.execute(
        "select op from flagent_cdc.change_log where table_name = 'flags' order by transaction_group, id"
    ).fetchall() == [("truncate",), ("insert",), ("update",)]
