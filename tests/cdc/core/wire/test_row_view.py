"""Events about rows as filters make them be seen."""

from dataclasses import replace
from typing import Any

from cdc.core.flags.events import Event, EventType
from cdc.core.log.position import EventId, LogId, Position
from cdc.core.row_filter.row_filter import WHOLE, RowFilter, RowView
from cdc.core.text.exact_json import JsonText
from cdc.core.wire.encoded import EncodedEvent
from cdc.core.wire.row_view import seen_event


def updated(**changes: Any) -> Event:
    detail = {
        "table": "shop.orders",
        "key": JsonText('{"id" : 2}'),
        "before": JsonText('{"id":1,"total":1.10,"note":"old"}'),
        "after": JsonText('{"id":2,"total":1.20,"note":"new"}'),
        "changed": ["id", "total", "note"],
        "user": "u",
        **changes,
    }
    id = EventId(Position(1), 0, LogId("log"))
    return Event(id, EventType.ROW_UPDATED, "shop", "", None, None, frozenset(), None, detail)


def test_a_row_that_enters_is_inserted() -> None:
    seen = seen_event(updated(), RowView("in"))
    assert (seen.type, seen.detail["before"], seen.detail["changed"], seen.detail["moved"]) == (
        "row_inserted",
        None,
        [],
        "in",
    )
    assert seen.detail["after"] == updated().detail["after"]


def test_a_row_that_leaves_is_deleted_with_the_key_that_it_had() -> None:
    seen = seen_event(updated(), RowView("out"))
    assert (seen.type, seen.detail["key"], seen.detail["before"], seen.detail["after"]) == (
        "row_deleted",
        '{"id" : 1}',
        None,
        None,
    )
    assert "new" not in EncodedEvent(seen).text


def test_without_a_key_a_row_that_leaves_is_named_by_what_it_was() -> None:
    seen = seen_event(updated(key=None), RowView("out", frozenset({"id"})))
    assert (seen.detail["before"], seen.detail["after"]) == ('{"id":1}', None)


def test_only_chosen_columns_are_left() -> None:
    text = EncodedEvent(updated()).seen_as(RowView(None, frozenset({"id", "total"}))).text
    assert '"before":{"id":1,"total":1.10},"after":{"id":2,"total":1.20},"changed":["id","total"]' in text
    assert "note" not in text


def test_an_event_is_encoded_once_for_all_who_see_it_alike() -> None:
    event = EncodedEvent(updated())
    assert event.seen_as(WHOLE) is event
    assert event.seen_as(RowView("in")) is event.seen_as(RowView("in"))
    assert event.seen_as(RowView("out")).id == event.id


def test_a_key_may_be_secret() -> None:
    assert seen_event(updated(), RowView(None, None, has_key=False)).detail["key"] is None


def test_a_change_of_columns_names_only_the_columns_that_are_seen() -> None:
    id, note = {"name": "id", "type": "bigint"}, {"name": "note", "type": "text"}
    detail = {"table": "shop.orders", "before": [id], "after": [id, note], "rewritten": True}
    event = replace(updated(), type=EventType.SCHEMA_CHANGED, detail=detail)
    view = RowFilter("shop.orders", (), frozenset({"id"})).view(event)
    assert view is not None
    seen = seen_event(event, view)
    assert (seen.type, seen.detail) == ("schema_changed", {**detail, "after": [id]})
    assert (
        RowFilter("shop.orders", (), frozenset({"id"})).view(replace(event, detail={**detail, "rewritten": False}))
        is None
    )
