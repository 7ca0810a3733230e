"""What one subscriber is behind by, slice by slice."""

import asyncio

import pytest

from cdc.core.log.position import EventId, Position
from cdc.core.subscription.resume import AddedSelection
from cdc.core.subscription.selection import Selections
from cdc.fanout.backlog import SLICE_BYTES, Backlog
from cdc.fanout.history import History
from cdc.fanout.snapshot_message import SnapshotMessage
from tests.cdc.core.flagent import LOG
from tests.cdc.fanout.memory import JSON_LINES

HERE = EventId(Position(1), None, LOG)


def taken(backlog: Backlog) -> list[bytes]:
    slices = []
    while backlog.outbox:
        slices.append(bytes(backlog.next_slice()))
    return slices


def snapshot_of(data: bytes) -> SnapshotMessage:
    return SnapshotMessage(JSON_LINES, data)


def test_small_messages_are_handed_on_whole_and_never_copied() -> None:
    first, second = b"first", bytes(SLICE_BYTES)
    backlog = Backlog(7, (first, second))
    assert backlog.next_slice() is first
    assert backlog.next_slice() is second
    assert (backlog.cursor, len(backlog.outbox), backlog.sent_bytes) == (7, 0, 0)


@pytest.mark.parametrize("extra", [1, SLICE_BYTES - 1, SLICE_BYTES, SLICE_BYTES + 1])
def test_a_large_message_comes_in_slices_that_share_its_bytes(extra: int) -> None:
    message = bytes(range(256)) * (SLICE_BYTES // 256) + b"x" * extra
    backlog = Backlog(0, (message, b"next"))
    one = backlog.next_slice()
    assert isinstance(one, memoryview)
    assert one.obj is message
    slices = [bytes(one), *taken(backlog)]
    assert slices.pop() == b"next"
    assert b"".join(slices) == message
    assert all(len(each) <= SLICE_BYTES for each in slices)


def test_a_restart_drops_snapshots_of_which_nothing_was_sent() -> None:
    answer, snapshot, pong = b"answer", snapshot_of(b"snapshot"), b"pong"
    backlog = Backlog(3, (answer, snapshot, pong))
    backlog.restart([b"resync"], cursor=9)
    assert backlog.cursor == 9
    assert taken(backlog) == [answer, pong, b"resync"]


def test_a_restart_finishes_the_message_that_is_partly_sent() -> None:
    begun = snapshot_of(b"a" * SLICE_BYTES + b"a")
    backlog = Backlog(3, (begun, snapshot_of(b"b")))
    backlog.next_slice()
    backlog.restart([snapshot_of(b"resync")], cursor=9)
    assert taken(backlog) == [b"a\n", b"resync\n"]


def test_a_restart_forgets_history_and_what_an_added_part_had_missed() -> None:
    backlog = Backlog()
    backlog.history = History((), HERE)
    backlog.added = AddedSelection(Selections(), Selections(), HERE, HERE)
    backlog.restart((), cursor=0)
    assert not backlog.history
    assert not backlog.added


async def test_stopping_cancels_what_is_waited_for() -> None:
    backlog = Backlog()
    waiting = backlog.waiting = asyncio.create_task(asyncio.sleep(60))
    backlog.drained = asyncio.Event()
    backlog.history = History((), HERE)
    backlog.stop()
    backlog.stop()
    assert not any((backlog.waiting, backlog.drained, backlog.history))
    with pytest.raises(asyncio.CancelledError):
        await waiting
