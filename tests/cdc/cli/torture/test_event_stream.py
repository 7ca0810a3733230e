"""The stream of the torture's subscribers: from a snapshot, or resumed; a refusal is an error."""

import httpx2
import pytest

from cdc.cli.torture.event_stream import read_stream
from cdc.core.log.position import EventId
from cdc.source.memory import MemoryLog
from tests.fixtures.memory import MemoryWriter
from tests.fixtures.server import port_of, serving


async def test_it_begins_with_a_snapshot_and_resumes_after_an_id(memory_log: MemoryLog) -> None:
    writer = MemoryWriter(memory_log)
    async with serving(memory_log) as server:
        writer.flag("first")
        blocks = read_stream(port_of(server), {"schema": "public"}, None)
        assert await anext(blocks) is None
        snapshot = await anext(block async for block in blocks if block is not None and block.event == "snapshot")
        await blocks.aclose()
        assert snapshot.id is not None
        writer.flag("second")
        resumed = read_stream(port_of(server), {"schema": "public"}, EventId.parse(snapshot.id))
        event = await anext(block async for block in resumed if block is not None and block.event == "flag_created")
        await resumed.aclose()
        assert '"flagKey":"second"' in (event.data or "")


async def test_a_refusal_is_an_error(memory_log: MemoryLog) -> None:
    async with serving(memory_log) as server:
        with pytest.raises(httpx2.HTTPStatusError):
            await anext(read_stream(port_of(server), {"no_such_field": "1"}, None))
