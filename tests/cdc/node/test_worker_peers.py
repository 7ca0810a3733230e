"""How workers query each other, over real sockets."""

import asyncio
from pathlib import Path

import pytest

from cdc.node import worker_peers
from cdc.node.worker_peers import WorkerPeers


def answering(data: bytes) -> worker_peers.Answer:
    async def answer() -> bytes:
        return data

    return answer


async def test_a_worker_that_is_alone_has_no_peers() -> None:
    alone = WorkerPeers()
    async with alone.answering(answering(b"unused")):
        assert await alone.ask() == {}


async def test_each_worker_gets_the_others_answers(tmp_path: Path) -> None:
    first, second, third = (WorkerPeers(tmp_path, place, 3) for place in range(3))
    async with first.answering(answering(b"0")), second.answering(answering(b"1")), third.answering(answering(b"2")):
        assert await first.ask() == {1: b"1", 2: b"2"}
        assert await third.ask() == {0: b"0", 1: b"1"}


async def test_an_answer_of_many_pieces_comes_whole(tmp_path: Path) -> None:
    large = bytes(range(256)) * 2048
    first, second = (WorkerPeers(tmp_path, place, 2) for place in range(2))
    async with second.answering(answering(large)):
        assert await first.ask() == {1: large}


async def test_a_worker_that_is_not_there_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second = (WorkerPeers(tmp_path, place, 3) for place in range(2))
    async with second.answering(answering(b"1")):
        assert await first.ask() == {1: b"1", 2: None}
    record = caplog.records[-1].__dict__
    assert (record["action"], record["worker"]) == ("peer_timeout", 2)


async def test_a_worker_that_hangs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_peers, "_ANSWER_S", 0.1)
    first, second = (WorkerPeers(tmp_path, place, 2) for place in range(2))
    hanging = asyncio.Event()

    async def answer() -> bytes:
        await hanging.wait()
        return b"too late"

    async with second.answering(answer):
        assert await first.ask() == {1: None}
        hanging.set()
        await asyncio.sleep(0.05)


async def test_only_the_user_of_the_directory_can_ask(tmp_path: Path) -> None:
    first, second = (WorkerPeers(tmp_path / "peers", place, 2) for place in range(2))
    (tmp_path / "peers").mkdir(mode=0o700)
    async with second.answering(answering(b"1")):
        assert [path.name for path in (tmp_path / "peers").iterdir()] == ["1"]
        assert await first.ask() == {1: b"1"}
    assert await first.ask() == {1: None}
