from dataclasses import FrozenInstanceError
from typing import get_type_hints

import pytest

from cdc.core.flags.events import Event, EventType, FlagScope
from cdc.core.log.position import EventId, LogId, Position


def test_the_names_of_events_on_the_wire_are_stable() -> None:
    assert [str(type) for type in EventType] == [
        "flag_created",
        "flag_updated",
        "flag_enabled",
        "flag_disabled",
        "flag_deleted",
        "segment_updated",
        "distribution_updated",
        "variant_updated",
        "row_inserted",
        "row_updated",
        "row_deleted",
        "table_truncated",
        "schema_changed",
    ]


def test_an_event_cannot_be_changed_as_its_subscribers_share_it() -> None:
    event_id = EventId(Position(1), 0, LogId("k7q2mx"))
    event = Event(event_id, EventType.FLAG_DELETED, "public", "", "a", 1, frozenset(), None, {})
    assert event.before is None
    with pytest.raises(FrozenInstanceError):
        event.schema = "other"  # type: ignore[misc]


def test_a_scope_holds_what_grants_can_restrict_besides_the_key() -> None:
    assert list(get_type_hints(FlagScope)) == ["tags", "project_id", "environment_id"]
