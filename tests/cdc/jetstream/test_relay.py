"""One relay of several copies the log: whatever breaks, the stream holds each commit once and in order."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.js.api import RetentionPolicy

from cdc.admin.installation import migrate, uninstall
from cdc.core.log.change import Commit
from cdc.core.log.position import Position
from cdc.core.wire.commit_message import Assembler, PartHeader, pack
from cdc.embedded.server import EmbeddedPostgres
from cdc.errors import DatabaseRefused, ForeignStream, NatsMismatch
from cdc.postgres.log_reader import LogReader
from tests.fixtures.flags import Writer
from tests.fixtures.nats import NatsServer, RelayProcess, active, nats_client, relaying, run_nats
from tests.fixtures.proxy import proxy_to
from tests.fixtures.random_writer import writing
from tests.fixtures.server import serving, sse, until
from tests.fixtures.standby import ask, promote

pytestmark = pytest.mark.timeout(90)

# What is promised is five seconds; the rest is for a busy machine, on which starting a process takes as long.
TAKEOVER_S = 10.0


async def stream_of(client: Client) -> list[tuple[PartHeader, bytes]]:
    """Everything in the stream, in order."""
    jetstream = client.jetstream()
    last = (await jetstream.stream_info("flagent_cdc")).state.last_seq
    subscription = await jetstream.subscribe("flagent_cdc.>", ordered_consumer=True)
    found: list[tuple[PartHeader, bytes]] = []
    sequence = 0
    while sequence < last:
        message = await subscription.next_msg(timeout=10)
        sequence = message.metadata.sequence.stream
        if (header := PartHeader.read(message.headers)) is not None:
            found.append((header, message.data))
    await subscription.unsubscribe()
    return found


async def commits_of(client: Client) -> list[Commit]:
    assembler = Assembler()
    taken = [assembler.take(header, data) for header, data in await stream_of(client)]
    return [commit for commit in taken if isinstance(commit, Commit)]


async def log_of(url: str, after: int = 0) -> list[Commit]:
    store = LogReader(url)
    commits = await store.commits_after(Position(after), 10_000_000)
    await store.close()
    return commits


async def copied(client: Client, url: str) -> None:
    """Wait until the stream holds what the log holds, and see that it does."""
    newest = (await log_of(url))[-1].position

    async def is_copied() -> bool:
        found = await stream_of(client)
        return bool(found) and found[-1][0].position >= newest and found[-1][0].is_last

    await until(is_copied, "the copying")
    here, there = await log_of(url), await commits_of(client)
    missing = len(here) - len(there)
    # What was committed before the stream began is in its first snapshot.
    assert missing >= 0
    assert there == here[missing:]


async def test_one_is_active_and_another_takes_over(database_url: str, nats_server: NatsServer) -> None:
    async with relaying(database_url, nats_server.url) as first, nats_client(nats_server.url) as client:
        await active(first)
        async with relaying(database_url, nats_server.url) as second:
            with Writer(database_url) as writer:
                writer.flag("a")
                await copied(client, database_url)
                assert not second.relay.is_active
                await first.stop()
                writer.flag("b")
                await active(second, TAKEOVER_S)
                writer.flag("c")
            await copied(client, database_url)


@pytest.fixture
async def relays(database_url: str, nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[list[RelayProcess]]:
    """Two processes, the first of which is active."""
    environment = {
        **os.environ,
        "FLAGENT_CDC_DATABASE_URL": database_url,
        "FLAGENT_CDC_NATS_URL": nats_server.url,
        "FLAGENT_CDC_NATS_SNAPSHOT_INTERVAL": "500ms",
    }
    processes = [RelayProcess(environment, tmp_path / f"relay{number}.log") for number in range(2)]
    try:
        processes[0].start()
        await processes[0].await_logged("relay_copying")
        processes[1].start()
        await processes[1].await_logged("relay_standby")
        yield processes
    finally:
        for process in processes:
            process.kill()


async def test_a_frozen_relay_is_succeeded_and_does_no_harm_when_it_thaws(
    database_url: str, nats_server: NatsServer, relays: list[RelayProcess]
) -> None:
    frozen, other = relays
    async with nats_client(nats_server.url) as client:
        with writing(database_url, "frozen", count=2):
            await asyncio.sleep(0.5)
            frozen.send(signal.SIGSTOP)
            await other.await_logged("relay_copying", TAKEOVER_S)
            await asyncio.sleep(0.5)
            frozen.send(signal.SIGCONT)
            await frozen.await_logged("relay_stopped")
            await asyncio.sleep(0.5)
        await copied(client, database_url)


async def test_a_relay_that_thaws_with_much_to_copy_copies_it(
    database_url: str, nats_server: NatsServer, relays: list[RelayProcess]
) -> None:
    frozen, other = relays
    other.kill()
    with Writer(database_url) as writer:
        writer.flag("a")
        frozen.send(signal.SIGSTOP)
        await asyncio.to_thread(
            writer.connection.execute,
            "do $$ begin for n in 1..4000 loop update flags set description = n::text; commit; end loop; end $$",
        )
        # Its place is taken away meanwhile, which it hears of in the middle of its work.
        ended = "select not exists (select from pg_stat_activity where application_name = 'flagent-cdc relay')"
        await until(lambda: ask(database_url, ended), "the end of its session")
        frozen.send(signal.SIGCONT)
    async with nats_client(nats_server.url) as client:
        await frozen.await_logged("relay_stopped")
        await copied(client, database_url)


async def test_no_commit_is_lost_or_repeated_however_often_relays_are_killed(
    database_url: str, nats_server: NatsServer, relays: list[RelayProcess]
) -> None:
    async with nats_client(nats_server.url) as client:
        with writing(database_url, "killed", count=2):
            for turn in range(3):
                dying, heir = relays[turn % 2], relays[1 - turn % 2]
                dying.kill()
                await heir.await_logged("relay_copying")
                dying.start()
                await dying.await_logged("relay_standby")
        await copied(client, database_url)
    assert "Traceback" not in "".join(relay.log.read_text() for relay in relays)


async def test_a_relay_cut_off_from_the_database_is_succeeded(database_url: str, nats_server: NatsServer) -> None:
    async with proxy_to(database_url) as proxy, relaying(proxy.url, nats_server.url) as cut_off:
        await active(cut_off)
        async with relaying(database_url, nats_server.url) as other, nats_client(nats_server.url) as client:
            proxy.stall()
            await active(other, TAKEOVER_S)
            assert not cut_off.relay.is_active
            with Writer(database_url) as writer:
                writer.flag("a")
            await copied(client, database_url)
            proxy.resume()


async def test_writers_do_not_wait_for_a_stream_that_does_not_answer(
    database_url: str, nats_server: NatsServer
) -> None:
    async with relaying(database_url, nats_server.url) as relay:
        await active(relay)
        nats_server.send(signal.SIGSTOP)
        with Writer(database_url) as writer:
            for number in range(300):
                await asyncio.to_thread(writer.flag, f"f{number}")
        nats_server.send(signal.SIGCONT)
        async with nats_client(nats_server.url) as client:
            await copied(client, database_url)


@pytest.mark.parametrize("is_same", [True, False], ids=["continued", "begun anew"])
async def test_a_commit_that_was_cut_off_is_finished(database_url: str, nats_server: NatsServer, is_same: bool) -> None:
    async with nats_client(nats_server.url) as client:
        async with relaying(database_url, nats_server.url) as relay:
            await active(relay)
            with Writer(database_url) as writer:
                writer.flag("a")
            await copied(client, database_url)
        with Writer(database_url) as writer:
            writer.run(
                "insert into flags (key, description, created_at) values ('b', '', now())",
                "insert into tags (value, created_at) values ('t', now())",
                "insert into segments (flag_id, rank, rollout_percent, created_at) select id, 1, 1, now() from flags",
            )
        (before, commit), header = (await log_of(database_url))[-2:], (await stream_of(client))[-1][0]
        start = (await client.jetstream().stream_info("flagent_cdc")).state.last_seq + 1
        parts = pack(commit, header.log, 1024 * 1024 - 4096)
        assert [part.table for part in parts] == ["flags", "tags", "segments"]
        # What a relay with another limit has sent is not what this one would have.
        sent = parts if is_same else pack(commit, header.log, 500)
        half = PartHeader(
            header.log,
            commit.position,
            before.position,
            commit.committed_at,
            commit.xid,
            1,
            len(sent),
            start,
            sent[0].continues,
        )
        await client.jetstream().publish("flagent_cdc.change.public.flags", sent[0].data, headers=half.headers())
        async with relaying(database_url, nats_server.url):
            await copied(client, database_url)
            numbers = [(header.number, header.start) for header, _ in await stream_of(client)][1:]
    anew = start if is_same else start + 1
    assert numbers == ([(1, start)] if not is_same else []) + [(part, anew) for part in (1, 2, 3)]


async def test_a_stream_of_another_log_is_left_alone_until_somebody_says_so(
    database_url: str, nats_server: NatsServer
) -> None:
    async with nats_client(nats_server.url) as client:
        async with relaying(database_url, nats_server.url) as relay:
            await active(relay)
            with Writer(database_url) as writer:
                writer.flag("a")
            await copied(client, database_url)
        old = (await stream_of(client))[-1][0].log
        await asyncio.to_thread(uninstall, database_url)
        await asyncio.to_thread(migrate, database_url)
        # It may be anybody's database, as far as the relay knows.
        async with relaying(database_url, nats_server.url) as relay:
            with pytest.raises(ForeignStream, match=f"the copy of log {old}, .*pass --adopt {old}:"):
                await relay.task
        async with relaying(database_url, nats_server.url, nats_adopt="aaaaaa") as relay:
            with pytest.raises(ForeignStream):
                await relay.task
        assert (await stream_of(client))[-1][0].log == old
        async with relaying(database_url, nats_server.url, nats_adopt=old) as relay:
            await active(relay)
            with Writer(database_url) as writer:
                writer.flag("b")

            async def is_copied() -> bool:
                return (await stream_of(client))[-1][0].log != old

            await until(is_copied, "the copying")
            origin = await client.jetstream().get_last_msg("flagent_cdc", "flagent_cdc.origin")
            assert origin.data is not None
            assert b'"log_replaced"' in origin.data


async def test_of_two_primaries_the_one_that_was_promoted_last_is_copied(
    own_postgres: EmbeddedPostgres, standby: EmbeddedPostgres, nats_server: NatsServer
) -> None:
    async with (
        nats_client(nats_server.url) as client,
        relaying(own_postgres.url, nats_server.url) as old,
        serving(None, nats_source=nats_server.url, listener_probe_interval_s=0.5) as node,
        sse(node.stream_url) as stream,
    ):
        await active(old)
        with Writer(own_postgres.url) as writer:
            writer.flag("kept")
            assert (await stream.next()).data["key"] == "kept"
            seen = "select count(*) from flags"
            await until(lambda: ask(standby.url, seen) == 1, "the standby's catching up")
            promote(standby)
            async with relaying(standby.url, nats_server.url) as new:
                # As after every failover, nobody has to say anything.
                await active(new)
                event = await stream.next()
                assert (event.type, event.data["reason"]) == ("resync", "log_replaced")
                writer.flag("lost")
                with pytest.raises(ForeignStream, match="not known to continue it"):
                    await old.task
                # Nor may it when it is started again.
                async with relaying(own_postgres.url, nats_server.url) as again:
                    with pytest.raises(ForeignStream):
                        await again.task
                with Writer(standby.url) as successor:
                    successor.flag("new")
                assert (await stream.next()).data["key"] == "new"
                await copied(client, standby.url)


async def test_a_stream_made_otherwise_is_refused_with_all_that_differs(
    database_url: str, nats_server: NatsServer
) -> None:
    async with nats_client(nats_server.url) as client:
        await client.jetstream().add_stream(
            name="flagent_cdc", subjects=["flagent_cdc.change.>"], retention=RetentionPolicy.WORK_QUEUE, max_age=60
        )
    async with relaying(database_url, nats_server.url) as relay:
        with pytest.raises(NatsMismatch) as refused:
            await relay.task
    for word in ("subjects is", "retention is workqueue", "max_age in seconds is 60", "FLAGENT_CDC_NATS_MAX_AGE"):
        assert word in str(refused.value)


async def test_a_server_whose_messages_are_too_small_is_refused(database_url: str, tmp_path: Path) -> None:
    with run_nats(tmp_path, "max_payload: 64KB") as server:
        async with relaying(database_url, server.url) as relay:
            with pytest.raises(NatsMismatch, match="max_payload is 65536"):
                await relay.task


async def test_behind_a_pool_of_transactions_a_relay_refuses_to_work(pooled_url: str, nats_server: NatsServer) -> None:
    async with relaying(pooled_url, nats_server.url) as relay:
        with pytest.raises(DatabaseRefused, match="PgBouncer"):
            await relay.task
