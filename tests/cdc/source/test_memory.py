"""The source in memory: the contract of all sources, and what it can do for tests alone."""

import asyncio
import doctest
from dataclasses import replace

import pytest

import cdc.source.memory
from cdc.auth.key_use import KeyUse
from cdc.core.log.change import Change, Op
from cdc.core.log.lane import Lane
from cdc.core.subscription.resume import ResyncReason
from cdc.errors import DatabaseUnavailable
from cdc.source.memory import MemoryLog
from tests.cdc.core.flagent import change_of
from tests.cdc.source.contract import SourceContract
from tests.fixtures.memory import MemoryWriter
from tests.fixtures.replica import Recorder, following
from tests.fixtures.server import until


class MemorySubject:
    """The subject of the contract."""

    def __init__(self) -> None:
        self.upstream = MemoryLog()
        self._writer = MemoryWriter(self.upstream)
        self._writer.tables.truncate("flags")  # the log of a database begins with a commit, too
        self._writer.commit()

    def flags(self, *keys: str) -> list[int]:
        ids = [self._writer.tables.flag(key) for key in keys]
        self._writer.commit()
        return ids

    def describe(self, flag_id: int, text: str) -> None:
        self._writer.update(flag_id, description=text)

    def delete(self, flag_id: int) -> None:
        self._writer.delete(flag_id)

    def order(self, number: int) -> None:
        self._writer.row("orders", {"id": number})

    def hole(self) -> None:
        self.upstream.skip()

    def prune(self, keep: int) -> None:
        self.upstream.prune(keep)

    def replace_log(self) -> None:
        self.upstream.replace_log("another")


class TestMemory(SourceContract):
    @pytest.fixture
    def subject(self) -> MemorySubject:
        return MemorySubject()


def insert(id: int, key: str) -> Change:
    return change_of("public", "flags", Op.INSERT, None, {"id": id, "key": key}, {"id": id})


def test_the_example_in_its_docstring_holds() -> None:
    assert doctest.testmod(cdc.source.memory).failed == 0


async def test_an_error_is_raised_by_every_question_until_it_is_taken_back() -> None:
    log = MemoryLog()
    log.error = DatabaseUnavailable("away")
    for ask in (log.state, log.newest, log.bootstrap, log.reach, log.size_bytes):
        with pytest.raises(DatabaseUnavailable):
            await ask()
    log.error = None
    assert (await log.state()).newest == 0


async def test_a_follower_comes_back_when_the_source_does() -> None:
    log, replica = MemoryLog(), Recorder()
    async with following(log, replica) as follower:
        log.error = DatabaseUnavailable("away")
        MemoryWriter(log).flag("a")
        await until(lambda: follower.mode == "disconnected", "the failure")
        assert follower.reason == "away"
        assert not follower.freshness().fresh
        log.error = None
        await until(lambda: follower.freshness().fresh, "the return")
        assert follower.reconnects > 0
    assert [flag["key"] for _, flag in replica.catalog.flags()] == ["a"]


async def test_a_commit_of_another_history_at_the_same_position_is_another_log() -> None:
    log, replica = MemoryLog(), Recorder()
    log.commit(insert(1, "a"))
    source = log.open(replica)
    task = asyncio.create_task(source.listener.run())
    await until(lambda: replica.catalog.position == 1, "the first state")
    # An older copy of the files: nothing in it says that it is one.
    log._commits[-1] = replace(log._commits[-1], xid=1)
    log.commit(insert(2, "b"))
    await until(lambda: replica.catalog.position == 2, "the other history")
    assert replica.reasons == [ResyncReason.LOG_REPLACED] * 2
    source.listener.stop()
    await task


async def test_keys_are_read_from_the_list() -> None:
    log = MemoryLog()
    store = log.key_store()
    version = await store.keys_version()
    assert await store.keys() == []
    assert [len(each.secret) for each in await store.stream_token_secrets()] == [32]
    assert await store.record_use(KeyUse(frozenset({1}), {(None, "malformed"): 2})) == {1}
    assert log.used_keys == {1}
    assert log.refused_keys == {(None, "malformed"): 2}
    log.keys.append("a key")  # type: ignore[arg-type]
    assert await store.keys_version() != version
    store.shutdown_socket()
    await store.close()


def test_it_has_the_default_lane_alone_and_no_tables() -> None:
    log = MemoryLog()
    assert log.lanes() is None  # type: ignore[func-returns-value]
    assert log.table_source() is None  # type: ignore[func-returns-value]
    with pytest.raises(AssertionError):
        log.open(Recorder(), Lane("orders", 1, "commit"))
    with pytest.raises(AssertionError):
        log.commit()
