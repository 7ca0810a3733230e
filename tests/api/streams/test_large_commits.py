"""Commits that are too large to be held in memory: told in parts, with the ids that they would have in one."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from cdc.core.log.change import Commit
from cdc.core.log.position import Position
from cdc.fanout.hub import Hub
from cdc.postgres.lane_reader import LaneReader
from cdc.postgres.log_reader import LogReader
from tests.fixtures.flags import Writer
from tests.fixtures.server import RunningServer, serving, sse, until

ROWS = 1_250

WATCHES = {
    "the flags' stream": "select flagent_cdc.watch('n')",
    "a lane": "select flagent_cdc.watch('n', lane => 'n')",
    "a lane ordered when read": "select flagent_cdc.watch('n', lane => 'n', lane_order => 'read')",
}


@pytest.fixture(params=list(WATCHES.values()), ids=list(WATCHES))
def writer(request: pytest.FixtureRequest, database_url: str) -> Iterator[Writer]:
    with Writer(database_url) as writer:
        writer.run("create table n (id integer primary key)", str(request.param))
        yield writer


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """How many changes each commit had, for every publication; in pages of a hundred."""
    monkeypatch.setattr("cdc.postgres.listener._CATCH_UP_CHANGES", 100)
    seen: list[list[int]] = []
    publish = Hub.publish

    def counted(hub: Hub, commits: Sequence[Commit]) -> None:
        seen.append([len(commit.changes) for commit in commits])
        publish(hub, commits)

    monkeypatch.setattr(Hub, "publish", counted)
    # One with many changes that comes whole is published in turns, by another way.
    publish_large = Hub._publish_large

    async def counted_large(hub: Hub, commit: Commit) -> None:
        seen.append([len(commit.changes)])
        await publish_large(hub, commit)

    monkeypatch.setattr(Hub, "_publish_large", counted_large)
    return seen


async def served(server: RunningServer) -> Hub:
    """The hub of the table's stream, once it has been read."""

    async def is_read() -> bool:
        await server.pipelines.look()
        pipelines = server.pipelines.pipelines
        return pipelines.get("n", pipelines["flags"]).is_ready

    await until(is_read, "the stream")
    return server.pipelines.pipelines.get("n", server.pipeline).hub


async def told(server: RunningServer, count: int, **parameters: str) -> list[tuple[str, Any]]:
    """The next events of the table, each as its id and the row's number."""
    async with sse(server.stream_url, {"table": "n", **parameters}) as stream:
        events = [await stream.next() for _ in range(count)]
    assert {event.type for event in events} == {"row_inserted"}
    return [(event.id or "", event.data["after"]["id"]) for event in events]


async def test_a_large_commit_is_told_in_parts_and_resumed_anywhere(
    database_url: str, writer: Writer, published: list[list[int]]
) -> None:
    async with serving(database_url, listener_poll_interval_s=0.05) as server:
        hub = await served(server)
        begin = str(hub.here())
        writer.run("insert into n values (-1)")
        writer.run(f"insert into n select g from generate_series(0, {ROWS - 1}) g", "insert into n values (9999)")
        events = await told(server, ROWS + 2, lastEventId=begin)
        assert max(map(sum, published)) <= 200
        assert sum(map(sum, published)) == ROWS + 2
        assert [number for _, number in events] == [-1, *range(ROWS), 9999]
        position = events[1][0].partition("-")[0]
        commit, log = events[1][0].partition("@")[2], hub.catalog.log
        assert commit.startswith(f"{log}.")
        assert [id for id, _ in events[1:]] == [f"{position}-{index}@{commit}" for index in range(ROWS + 1)]
        for place in (0, 1, 77, ROWS):
            assert await told(server, len(events) - place - 1, lastEventId=events[place][0]) == events[place + 1 :]
    # From the log, and with all of it at once, it is the same.
    async with serving(database_url, listener_poll_interval_s=0.05, pipeline_ring_events=10) as server:
        await served(server)
        assert await told(server, len(events), lastEventId=begin) == events


@pytest.mark.parametrize("lost", [10, 150])
async def test_numbers_that_a_savepoint_took_with_it_are_not_missed(
    database_url: str, writer: Writer, published: list[list[int]], lost: int
) -> None:
    """More of them than a part has, also, before the commit's first change and among the others."""
    async with serving(database_url, listener_poll_interval_s=0.05) as server:
        begin = str((await served(server)).here())
        with writer.connection.transaction():
            for first in (0, 130):
                writer.connection.execute("savepoint s")
                writer.run(f"insert into n select g from generate_series(5000, {4999 + lost}) g")
                writer.connection.execute("rollback to s")
                writer.run(f"insert into n select g from generate_series({first}, {first + 129}) g")
        events = await told(server, 260, lastEventId=begin)
        assert [number for _, number in events] == list(range(260))
        position, commit = events[0][0].partition("-")[0], events[0][0].partition("@")[2]
        assert [id for id, _ in events] == [f"{position}-{index}@{commit}" for index in range(260)]


async def test_a_part_that_cannot_be_read_is_read_again_and_nothing_comes_twice(
    database_url: str, writer: Writer, published: list[list[int]]
) -> None:
    async with serving(database_url, listener_poll_interval_s=0.05) as server:
        hub = await served(server)
        begin = str(hub.here())

        publish = hub.publish
        cut: list[int] = []

        def publish_and_cut(commits: Sequence[Commit]) -> None:
            publish(commits)
            # Twice, each time between two parts.
            if len(published) in (3, 8):
                ended = writer.connection.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    " where datname = current_database() and application_name like 'flagent-cdc%'"
                )
                cut.append(ended.rowcount)

        hub.publish = publish_and_cut  # type: ignore[method-assign]
        writer.run(f"insert into n select g from generate_series(0, {ROWS - 1}) g")
        events = await told(server, ROWS, lastEventId=begin)
        assert [number for _, number in events] == list(range(ROWS))
        assert len({id for id, _ in events}) == ROWS
        assert len(cut) == 2
        assert all(cut)


async def test_whoever_comes_within_a_large_commit_gets_what_follows(
    database_url: str, writer: Writer, published: list[list[int]]
) -> None:
    async with serving(database_url, listener_poll_interval_s=0.05) as server:
        hub = await served(server)
        begin = str(hub.here())
        ids = []
        publish = hub.publish

        def publish_and_note(commits: Sequence[Commit]) -> None:
            publish(commits)
            ids.append(str(hub.here()))

        hub.publish = publish_and_note  # type: ignore[method-assign]
        writer.run(f"insert into n select g from generate_series(0, {ROWS - 1}) g")
        events = await told(server, ROWS, lastEventId=begin)
        # What was current at each moment is a place to resume from.
        within = [id for id in ids if "-" in id]
        assert len(within) == ROWS // 100
        for id in within[:2]:
            place = int(id.partition("@")[0].partition("-")[2]) + 1
            assert await told(server, ROWS - place, lastEventId=id) == events[place:]


async def test_a_part_is_found_by_its_place_however_far_within(database_url: str, writer: Writer) -> None:
    # Beyond what two bytes hold, as the driver sends small numbers.
    writer.run("insert into n select g from generate_series(0, 33999) g")
    directory = LaneReader(database_url)
    (table,) = await directory.watched_lanes()
    await directory.close()
    store = LogReader(database_url, table.lane)
    try:
        (begin,) = [one for one in await store.commits_after(Position(0), 100, in_parts=True) if not one.ends]
        number = begin.changes[-1].sequence
        places = [33_500, 33_900]
        if number is not None:
            numbers = writer.connection.execute(
                "select l.id from flagent_cdc.read_order_log l order by l.id"
            ).fetchall()
            places = [numbers[place - 1][0] for place in places]
        part = await store.next_part(begin.position, places[0], 33_500, 400)
        last = None if part is None else await store.next_part(begin.position, places[1], 33_900, 400)
    finally:
        await store.close()
    assert part is not None
    assert last is not None
    assert [change.after and change.after.row for change in part.changes] == [{"id": n} for n in range(33_500, 33_900)]
    assert (len(last.changes), part.ends, last.ends, last.begin) == (100, False, True, 33_900)


async def test_a_large_commit_with_flags_is_told_as_a_whole(database_url: str, published: list[list[int]]) -> None:
    with Writer(database_url) as writer:
        writer.run("create table n (id integer primary key)", "select flagent_cdc.watch('n')")
        async with serving(database_url) as server:
            begin = str(server.pipeline.hub.here())
            writer.run(
                f"insert into n select g from generate_series(1, {ROWS}) g",
                "insert into flags (key, description, created_at) values ('a', '', now())",
                "update flags set description = 'b'",
            )
            async with sse(server.stream_url, [("table", "n"), ("flag", "a"), ("lastEventId", begin)]) as stream:
                types = [(await stream.next()).type for _ in range(ROWS + 1)]
            assert types == ["row_inserted"] * ROWS + ["flag_created"]
            assert [ROWS + 2] in published
