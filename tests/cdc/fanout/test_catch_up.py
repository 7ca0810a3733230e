"""Who comes back after a long time takes turns, and everyone else is served between two of them."""

import asyncio

from cdc.core.subscription.selection import Selection, Selections
from cdc.core.wire.dialect import EVENTS
from cdc.core.wire.format import Format
from cdc.fanout.subscriber import CloseReason, Subscriber
from tests.fixtures.flags import Writer
from tests.fixtures.server import RunningServer, until


class Bottomless:
    """A sink that is never full."""

    socket = None

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes | memoryview) -> None:
        self.data += data

    def close(self, reason: CloseReason, text: str) -> None:
        raise AssertionError(f"closed: {reason}, {text}")

    def heard_since_last_beat(self) -> bool:
        return True


async def test_however_many_catch_up_one_has_its_turn_between_two_looks_at_the_sockets(
    server: RunningServer, database_url: str
) -> None:
    hub = server.pipeline.hub
    begin = str(hub.here())
    with Writer(database_url) as writer:
        writer.run(
            "insert into flags (key, description, notes, created_at)"
            " select 'f' || number, 'long', repeat('x', 400), now() from generate_series(1, 3000) number"
        )
    await until(lambda: hub.ring.end >= 3000, "the events")
    returning = [Subscriber(Bottomless(), Format(EVENTS), Selections((Selection.of(),))) for _ in range(20)]
    for subscriber in returning:
        hub.subscribe(subscriber, last_event_id=begin)
    most, before = 0, hub.sent_bytes
    while any(not subscriber.is_live for subscriber in returning):
        await asyncio.sleep(0)  # one round of the loop
        most, before = max(most, hub.sent_bytes - before), hub.sent_bytes
    assert 0 < most < 256 * 1024
    told = [subscriber.sink.data for subscriber in returning if isinstance(subscriber.sink, Bottomless)]
    assert [data.count(b"event: flag_created\n") for data in told] == [3000] * 20
    for subscriber in returning:
        hub.remove(subscriber)
