"""Memory does not grow with the number of snapshots that were sent, however often flags change in between."""

import asyncio
import gc
import tracemalloc

import pytest

from cdc.core.subscription.grant import Grant
from cdc.core.subscription.selection import Selection, Selections
from cdc.core.wire.dialect import EVENTS, MESSAGES
from cdc.core.wire.format import Format
from cdc.fanout.limits import HubLimits
from tests.cdc.fanout.memory import EVERYTHING, MemoryHub

FLAGS, FIRST, ALL = 600, 10, 150

FORMATS = {
    "plain": Format(EVENTS, is_chunked=True),
    "gzip": Format(EVENTS, "gzip", is_chunked=True),
    "deflate": Format(MESSAGES, "deflate"),
}


@pytest.mark.parametrize("name", FORMATS)
async def test_memory_after_many_snapshots_and_reconnects_is_that_after_a_few(name: str) -> None:
    tracemalloc.start()
    # What is kept of the events themselves has a bound of its own.
    memory = MemoryHub(HubLimits(ring_events=8))
    ids = [memory.flagent.flag(f"k{number}", description=f"{number:03d}" + "x" * 197) for number in range(FLAGS)]
    await memory.hub.publish_in_turns([memory.flagent.commit()])
    some = Selections((Selection.of().within(Grant.parse({"flags": ["k1*"]})),))
    first_bytes = last_bytes = 0
    try:
        for number in range(ALL):
            # As long as what it replaces, and of the same few flags: those that change are remembered rendered, up to a
            # bound.
            memory.flagent.update("flags", ids[number % FIRST * 50], description=f"{number:03d}" + "y" * 197)
            memory.hub.publish([memory.flagent.commit()])
            for selections in (EVERYTHING, some):
                subscriber, sink = memory.subscribed(selections, FORMATS[name], snapshot=True)
                while not subscriber.is_live:
                    await asyncio.sleep(0)
                assert sink.data
                memory.hub.remove(subscriber)
            if number + 1 in (FIRST, ALL):
                del subscriber, sink
                gc.collect()
                first_bytes, last_bytes = last_bytes, tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert last_bytes <= first_bytes * 1.05, (first_bytes, last_bytes)
