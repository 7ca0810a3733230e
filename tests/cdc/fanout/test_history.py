"""Events of the past, shared by all that read them."""

from cdc.core.flags.flag_bound import FlagBound
from cdc.core.log.position import EventId, Position
from cdc.core.subscription.ring import Ring
from cdc.core.wire.encoded import encode_commit
from cdc.fanout.history import History
from tests.cdc.core.flagent import LOG, Observed
from tests.cdc.fanout.memory import MemoryHub, keys
from tests.fixtures.server import until


async def test_each_reader_begins_at_its_own_first_event_and_goes_on_after_the_last() -> None:
    observed = Observed()
    events = []
    for key in "abcd":
        observed.flagent.flag(key)
        events += encode_commit(observed.commit(), FlagBound())
    until_id = EventId(Position(4), None, LOG)

    async def historian(after: EventId) -> History:
        return History(events, until_id, first=int(after.position))

    memory = MemoryHub(historian=historian)
    # This server has just started: of what came before it holds the present alone.
    memory.flagent.position = 4
    memory.hub.catalog.position = Position(4)
    memory.hub.ring = Ring(10, 1 << 20, Position(4))
    readers = [memory.subscribed(last_event_id=f"{position}@{LOG}") for position in range(5)]
    memory.flag("e")
    await until(lambda: all(subscriber.is_live for subscriber, _ in readers), "the readers", deadline_s=5)
    assert [keys(sink) for _, sink in readers] == [["a", "b", "c", "d", "e"][position:] for position in range(5)]


def test_history_is_read_from_its_first_event_by_default() -> None:
    history = History((), EventId(Position(4), None, LOG))
    assert (history.first, history.until.position) == (0, 4)
