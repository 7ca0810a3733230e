"""The event stream as a client sees it: a real server, a real database, a real socket."""

import asyncio
import zlib

import httpx
import psycopg
import pytest

from cdc.core.log.position import EventId, Position
from tests.fixtures.flags import Writer
from tests.fixtures.server import DEADLINE_S, RunningServer, serving, sse


async def test_a_plain_sql_insert_arrives_with_the_whole_flag(either_server: RunningServer, database_url: str) -> None:
    with Writer(database_url) as writer:
        async with sse(either_server.stream_url) as stream:
            writer.flag("a", description="first")
            event = await stream.next()
    assert (event.type, event.data["key"], event.data["description"]) == ("flag_created", "a", "first")
    assert event.id is not None
    assert EventId.parse(event.id).log == either_server.pipeline.hub.catalog.log


async def test_a_toggle_gives_updated_and_enabled_with_one_position(server: RunningServer, database_url: str) -> None:
    with Writer(database_url) as writer:
        flag = writer.flag("a")
        async with sse(server.stream_url, {"flag": "a"}) as stream:
            writer.toggle(flag)
            first, second = await stream.next(), await stream.next()
    assert [first.type, second.type] == ["flag_updated", "flag_enabled"]
    assert first.id is not None
    assert second.id == first.id.replace("-0@", "-1@")


async def test_a_save_by_flagent_in_three_commits_is_one_content_event(
    server: RunningServer, database_url: str
) -> None:
    with Writer(database_url) as writer:
        flag = writer.flag("a")
        async with sse(server.stream_url) as stream:
            writer.run(f"update flags set description = 'new', updated_at = now() where id = {flag}")
            writer.run(f"insert into flag_snapshots (flag_id, flag, created_at) values ({flag}, '{{}}', now())")
            writer.run(
                f"update flags set key = key, description = description, enabled = enabled, notes = notes,"
                f" snapshot_id = 1, updated_by = '', updated_at = now() where id = {flag}"
            )
            writer.flag("end")
            seen = [await stream.next(), await stream.next()]
    assert [(event.type, event.data["key"]) for event in seen] == [("flag_updated", "a"), ("flag_created", "end")]


async def test_the_snapshot_comes_first_and_the_stream_joins_it(server: RunningServer, database_url: str) -> None:
    with Writer(database_url) as writer:
        writer.flag("a")
        writer.flag("b")
        assert await server.pipeline.hub.reached(Position(3), DEADLINE_S)
        async with sse(server.stream_url, {"snapshot": "true"}) as stream:
            snapshot = await stream.next()
            writer.flag("c")
            event = await stream.next()
    assert snapshot.type == "snapshot"
    assert [flag["key"] for flag in snapshot.data["flags"]] == ["a", "b"]
    assert (event.type, event.data["key"]) == ("flag_created", "c")


@pytest.mark.parametrize("by_header", [True, False])
async def test_a_client_that_comes_back_gets_what_it_missed(
    either_server: RunningServer, database_url: str, by_header: bool
) -> None:
    with Writer(database_url) as writer:
        async with sse(either_server.stream_url) as stream:
            writer.flag("a")
            seen = await stream.next()
        writer.flag("b")
        writer.flag("c")
        assert seen.id is not None
        params = {} if by_header else {"lastEventId": seen.id}
        headers = {"last_event_id": seen.id} if by_header else {}
        async with sse(either_server.stream_url, params, **headers) as stream:
            keys = [(await stream.next()).data["key"] for _ in range(2)]
    assert keys == ["b", "c"]


async def test_the_end_of_a_replay_is_told_at_once_with_position_and_freshness(
    either_server: RunningServer, database_url: str
) -> None:
    with Writer(database_url) as writer:
        async with sse(either_server.stream_url) as stream:
            writer.flag("a")
            seen = await stream.next()
        writer.flag("b")
        assert seen.id is not None
        async with sse(either_server.stream_url, last_event_id=seen.id) as stream:
            assert (await stream.next()).data["key"] == "b"
            block = await stream.next_block(deadline_s=5)
    assert block.comment.startswith("keep-alive position=3 fresh=true")
    assert block.id is not None
    assert block.id.startswith("3@")


async def test_the_greeting_tells_position_freshness_and_the_time_between_keep_alives(
    either_server: RunningServer,
) -> None:
    async with sse(either_server.stream_url) as stream:
        assert stream.greeting["position"] == "1"
        assert stream.greeting["fresh"] is True
        assert stream.greeting["heartbeatMs"] == 30_000
        assert stream.retry_ms is not None
        assert 2_000 <= stream.retry_ms <= 4_000


async def test_the_header_wins_over_the_parameter(either_server: RunningServer, database_url: str) -> None:
    with Writer(database_url) as writer:
        async with sse(either_server.stream_url) as stream:
            writer.flag("a")
            first = await stream.next()
            writer.flag("b")
            second = await stream.next()
        writer.flag("c")
        assert first.id is not None
        assert second.id is not None
        async with sse(either_server.stream_url, {"lastEventId": first.id}, last_event_id=second.id) as stream:
            assert (await stream.next()).data["key"] == "c"


async def test_an_id_from_before_the_start_is_replayed_from_the_log_as_it_was(database_url: str) -> None:
    with Writer(database_url) as writer:
        async with serving(database_url) as server, sse(server.stream_url) as stream:
            flag = writer.flag("a", description="v1")
            seen = await stream.next()
        writer.run(f"update flags set description = 'v2' where id = {flag}")
        writer.run(f"update flags set description = 'v3' where id = {flag}")
        assert seen.id is not None
        async with serving(database_url) as server, sse(server.stream_url, last_event_id=seen.id) as stream:
            replayed = [await stream.next(), await stream.next()]
            writer.run(f"update flags set description = 'v4' where id = {flag}")
            live = await stream.next()
    assert [event.data["description"] for event in (*replayed, live)] == ["v2", "v3", "v4"]


@pytest.mark.parametrize(
    ("last_id", "reason"),
    [("rubbish", "unknown_id"), ("1-0@zzzzzz", "log_replaced"), ("999999-0@{log}", "ahead")],
)
async def test_an_id_that_cannot_be_continued_gets_a_resync(
    server: RunningServer, database_url: str, last_id: str, reason: str
) -> None:
    with Writer(database_url) as writer:
        writer.flag("a")
        async with sse(server.stream_url) as stream:
            writer.flag("b")
            await stream.next()
        last_id = last_id.format(log=server.pipeline.hub.catalog.log)
        async with sse(server.stream_url, last_event_id=last_id) as stream:
            resync = await stream.next()
            writer.flag("c")
            event = await stream.next()
    assert (resync.type, resync.data["reason"]) == ("resync", reason)
    assert [flag["key"] for flag in resync.data["snapshot"]["flags"]] == ["a", "b"]
    assert event.data["key"] == "c"
    if reason == "unknown_id":
        assert any("'rubbish' is not an event id" in comment for comment in stream.comments)


async def test_filters_add_up_and_types_narrow(server: RunningServer, database_url: str) -> None:
    with Writer(database_url) as writer:
        by_key, by_id, by_tag, other = (writer.flag(key) for key in ("k", "i", "t", "o"))
        writer.tag(by_tag, "payment")
        wanted = [("flag", "k"), ("flagID", str(by_id)), ("tag", "payment"), ("type", "flag_enabled")]
        async with sse(server.stream_url, wanted) as stream:
            for flag in (other, by_key, by_id, by_tag, other):
                writer.toggle(flag)
            seen = [await stream.next() for _ in range(3)]
    assert [(event.type, event.data["key"]) for event in seen] == [("flag_enabled", key) for key in "kit"]


async def test_a_subscriber_by_tag_learns_that_a_flag_has_left(server: RunningServer, database_url: str) -> None:
    with Writer(database_url) as writer:
        flag = writer.flag("a")
        writer.tag(flag, "payment")
        async with sse(server.stream_url, {"tag": "payment", "snapshot": "true"}) as stream:
            assert [f["key"] for f in (await stream.next()).data["flags"]] == ["a"]
            writer.run(f"delete from flags_tags where flag_id = {flag}")
            left = await stream.next()
            writer.toggle(flag)
            writer.tag(flag, "payment")
            joined = await stream.next()
    assert (left.type, left.data["tags"]) == ("flag_updated", [])
    assert [tag["value"] for tag in joined.data["tags"]] == ["payment"]
    assert joined.data["enabled"] is True


async def test_segments_selects_segments_and_distributions_only(server: RunningServer, database_url: str) -> None:
    with Writer(database_url) as writer:
        flag = writer.flag("a")
        variant = writer.variant(flag, "on")
        async with sse(server.stream_url, {"segments": "true"}) as stream:
            writer.toggle(flag)
            segment = writer.segment(flag)
            first = await stream.next()
            writer.run(
                "insert into distributions (segment_id, variant_id, variant_key, percent, created_at)"
                f" values ({segment}, {variant}, 'on', 100, now())"
            )
            second = await stream.next()
    assert (first.type, first.data["segmentID"], first.data["flagKey"]) == ("segment_updated", segment, "a")
    assert (second.type, second.data["distributions"][0]["percent"]) == ("distribution_updated", 100)
    assert "schema" not in second.data


async def test_envelope_and_stamps(server: RunningServer, database_url: str) -> None:
    with Writer(database_url) as writer:
        async with sse(server.stream_url, {"envelope": "true", "stamps": "1"}) as stream:
            flag = writer.flag("a")
            event = await stream.next()
    assert (event.data["type"], event.data["id"], event.data["flagKey"]) == ("flag_created", event.id, "a")
    assert (event.data["flagID"], event.data["schema"]) == (flag, "public")
    assert event.data["committedAt"] <= event.data["sentAt"]
    assert event.data["flag"]["key"] == "a"


async def test_a_batch_window_gathers_events(server: RunningServer, database_url: str) -> None:
    with Writer(database_url) as writer:
        async with sse(server.stream_url, {"batchMs": "300"}) as stream:
            for key in "abc":
                writer.flag(key)
            batch = await stream.next()
    assert batch.type == "batch"
    assert [event["flagKey"] for event in batch.data["events"]] == ["a", "b", "c"]
    assert batch.id == batch.data["events"][-1]["id"]


async def test_a_keep_alive_moves_the_id_of_a_filtered_client_forward(database_url: str) -> None:
    async with serving(database_url, sse_keep_alive_s=0.2) as server:
        with Writer(database_url) as writer:
            async with sse(server.stream_url, {"flag": "mine"}) as stream:
                writer.flag("not-mine")
                async with asyncio.timeout(10):
                    while not stream.last_id.startswith("2@"):
                        block = await stream.next_block()
                        assert block.type == ""
                        assert block.data is None
            assert any("keep-alive position=2 fresh=true" in comment for comment in stream.comments)
            assert not any("digest" in comment for comment in stream.comments)


async def test_a_gzip_stream_is_readable_block_by_block(either_server: RunningServer, database_url: str) -> None:
    with Writer(database_url) as writer:
        async with (
            httpx.AsyncClient() as client,
            client.stream("GET", either_server.stream_url, headers={"accept-encoding": "gzip"}) as response,
        ):
            assert response.headers["content-encoding"] == "gzip"
            decoder = zlib.decompressobj(16 + zlib.MAX_WBITS)
            chunks = response.aiter_raw()
            text = b""
            while b"connected" not in text:
                text += decoder.decompress(await anext(chunks))
            writer.flag("a", description="x" * 1000)
            async with asyncio.timeout(10):
                while b"flag_created" not in text:
                    text += decoder.decompress(await anext(chunks))
    assert b"x" * 1000 in text


async def test_a_large_transaction_arrives_whole_and_in_order(either_server: RunningServer, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        async with sse(either_server.stream_url) as stream:
            connection.execute(
                "insert into flags (key, description, enabled, created_at)"
                " select 'f' || n, repeat('x', 100), false, now() from generate_series(1, 3000) n"
            )
            connection.commit()
            seen = [await stream.next() for _ in range(3000)]
    assert [event.data["key"] for event in seen] == [f"f{n}" for n in range(1, 3001)]
    assert len({event.id.split("-")[0] for event in seen if event.id}) == 1


async def test_a_row_of_several_hundred_kilobytes_arrives(either_server: RunningServer, database_url: str) -> None:
    with Writer(database_url) as writer:
        async with sse(either_server.stream_url) as stream:
            writer.flag("big", description="ü" * 300_000)
            event = await stream.next()
    assert event.data["description"] == "ü" * 300_000


async def test_the_stream_forbids_buffering_on_its_way(either_memory_server: RunningServer) -> None:
    async with httpx.AsyncClient() as client, client.stream("GET", either_memory_server.stream_url) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["x-accel-buffering"] == "no"
        assert response.headers["cache-control"] == "no-cache, no-transform"
