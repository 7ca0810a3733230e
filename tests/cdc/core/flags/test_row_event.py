"""Events of rows of watched tables."""

import pytest

from cdc.core.flags.events import EventType
from cdc.core.flags.row_event import row_event
from cdc.core.log.change import Change, Op, Row
from cdc.core.log.position import EventId, Position
from tests.cdc.core.flagent import LOG, TIME, commit_of

ID = EventId(Position(7), 0, LOG)


@pytest.mark.parametrize(
    ("op", "before", "after", "type", "changed"),
    [
        (Op.INSERT, None, {"id": 1}, EventType.ROW_INSERTED, []),
        (Op.UPDATE, {"id": 1, "n": 1}, {"id": 1, "n": 2}, EventType.ROW_UPDATED, ["n"]),
        (
            Op.UPDATE,
            {"id": 1, "b": 1, "old": 0},
            {"id": 1, "new": 0, "b": 2},
            EventType.ROW_UPDATED,
            ["new", "b", "old"],
        ),
        (Op.UPDATE, None, {"id": 1}, EventType.ROW_UPDATED, ["id"]),
        (Op.UPDATE, {"id": 1}, {"id": 1}, EventType.ROW_UPDATED, []),
        (Op.DELETE, {"id": 1}, None, EventType.ROW_DELETED, []),
        (Op.TRUNCATE, None, None, EventType.TABLE_TRUNCATED, []),
    ],
)
def test_an_event_names_its_type_and_the_changed_columns(
    op: Op, before: Row | None, after: Row | None, type: EventType, changed: list[str]
) -> None:
    change = Change("shop", "orders", op, before, after, {"id": 1})
    event = row_event(ID, commit_of(7, change), change)
    assert (event.type, event.detail["changed"]) == (type, changed)
    assert (event.detail["before"], event.detail["after"], event.detail["key"]) == (before, after, {"id": 1})


def test_an_event_says_where_the_change_comes_from() -> None:
    change = Change("shop", "orders", Op.INSERT, None, {"id": 1}, {"id": 1})
    event = row_event(ID, commit_of(7, change), change)
    assert (event.id, event.schema, event.committed_at) == (ID, "shop", TIME)
    origin = {name: event.detail[name] for name in ("table", "transaction", "user", "application")}
    assert origin == {"table": "shop.orders", "transaction": "771", "user": "app", "application": "test"}
    assert (event.flag_key, event.flag_id, event.flag, event.tags) == (None, None, None, frozenset())


def test_only_a_change_with_a_sequence_has_one_as_text() -> None:
    plain = Change("shop", "orders", Op.INSERT, None, {"id": 1})
    ordered = Change("shop", "orders", Op.INSERT, None, {"id": 1}, None, 2**60)
    assert "sequence" not in row_event(ID, commit_of(7, plain), plain).detail
    assert row_event(ID, commit_of(7, ordered), ordered).detail["sequence"] == str(2**60)
