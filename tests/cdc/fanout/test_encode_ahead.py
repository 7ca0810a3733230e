"""Flags are encoded ahead in turns after many have changed, and not after a few."""

import asyncio
import contextlib

from cdc.fanout.encode_ahead import FEW_FLAGS, encode_ahead
from cdc.fanout.large_commit import LARGE_CHANGES
from cdc.source.cancellation import cancel_and_wait
from tests.cdc.fanout.memory import MemoryHub
from tests.fixtures.server import until


async def test_many_flags_are_encoded_in_turns_and_a_few_are_left() -> None:
    memory = MemoryHub()
    task = asyncio.create_task(encode_ahead(memory.hub))
    try:
        memory.flag("a")
        await asyncio.sleep(0)
        assert memory.hub.catalog.unhashed == 1
        for number in range(FEW_FLAGS * 2):
            memory.flagent.flag(f"k{number}")
        memory.commit()
        turns = 0
        while memory.hub.catalog.unhashed:
            before = memory.hub.catalog.unhashed
            await asyncio.sleep(0)
            assert before - memory.hub.catalog.unhashed <= FEW_FLAGS
            turns += 1
        assert turns > 5
    finally:
        await cancel_and_wait([task])
    assert memory.hub.catalog.digest == memory.flagent.catalog().digest


async def test_what_a_large_commit_changes_meanwhile_is_hashed_too() -> None:
    memory = MemoryHub()
    for number in range(FEW_FLAGS * 2):
        memory.flagent.flag(f"k{number}")
    memory.commit()
    task = asyncio.create_task(encode_ahead(memory.hub))
    try:
        await asyncio.sleep(0)
        for number in range(LARGE_CHANGES * 2):
            memory.flagent.flag(f"large{number}")
        await memory.hub.publish_in_turns([memory.flagent.commit()])
        await until(lambda: memory.hub.catalog.unhashed == 0, "all hashes")
    finally:
        await cancel_and_wait([task])
    assert memory.hub.catalog.digest == memory.flagent.catalog().digest


async def test_a_change_between_two_turns_is_hashed_too() -> None:
    memory = MemoryHub()
    ids = [memory.flagent.flag(f"k{number}") for number in range(FEW_FLAGS * 2)]
    memory.commit()
    task = asyncio.create_task(encode_ahead(memory.hub))
    try:
        await asyncio.sleep(0)
        for flag_id in (ids[0], ids[-1]):
            memory.flagent.update("flags", flag_id, description="x")
        memory.flagent.delete("flags", ids[1])
        memory.commit()
        await until(lambda: memory.hub.catalog.unhashed == 0, "all hashes")
    finally:
        await cancel_and_wait([task])
    assert memory.hub.catalog.digest == memory.flagent.catalog().digest
    with contextlib.suppress(asyncio.CancelledError):
        await task
