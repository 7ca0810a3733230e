"""The options of `tail`, which know the types of events without importing them."""

from cdc.cli.tail import EVENT_TYPES
from cdc.core.flags.events import EventType


def test_the_types_are_those_of_events() -> None:
    assert list(EVENT_TYPES) == [str(each) for each in EventType]
