"""Events of rows of watched tables."""

import pytest

from cdc.core.flags.events import Event, EventType
from cdc.core.flags.row_event import row_event
from cdc.core.log.change import Change, Op
from cdc.core.log.position import EventId, Position
from cdc.core.log.row_text import MAX_DELIVERED, Row, RowText
from tests.cdc.core.flagent import LOG, TIME, change_of, commit_of, detail_of

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
    change = change_of("shop", "orders", op, before, after, {"id": 1})
    event = row_event(ID, commit_of(7, change), change)
    detail = detail_of(event)
    assert (event.type, detail["changed"]) == (type, changed)
    assert (detail["before"], detail["after"], detail["key"]) == (before, after, {"id": 1})


def test_a_change_of_columns_has_these_instead_of_a_row() -> None:
    before = {"columns": [{"name": "id", "type": "bigint"}]}
    after = {"columns": [{"name": "id", "type": "text"}], "rewritten": True}
    change = change_of("shop", "orders", Op.SCHEMA, before, after, None, 7)
    event = row_event(ID, commit_of(7, change), change)
    assert (event.type, event.rows) == (EventType.SCHEMA_CHANGED, None)
    assert event.detail == {
        "table": "shop.orders",
        "before": before["columns"],
        "after": after["columns"],
        "rewritten": True,
        "transaction": "771",
        "user": "app",
        "application": "test",
        "sequence": "7",
    }


def test_an_event_says_where_the_change_comes_from() -> None:
    change = change_of("shop", "orders", Op.INSERT, None, {"id": 1}, {"id": 1})
    event = row_event(ID, commit_of(7, change), change)
    assert (event.id, event.schema, event.committed_at) == (ID, "shop", TIME)
    origin = {name: event.detail[name] for name in ("table", "transaction", "user", "application")}
    assert origin == {"table": "shop.orders", "transaction": "771", "user": "app", "application": "test"}
    assert (event.flag_key, event.flag_id, event.flag, event.tags) == (None, None, None, frozenset())


def test_only_a_change_with_a_sequence_has_one_as_text() -> None:
    plain = change_of("shop", "orders", Op.INSERT, None, {"id": 1})
    ordered = change_of("shop", "orders", Op.INSERT, None, {"id": 1}, None, 2**60)
    assert "sequence" not in row_event(ID, commit_of(7, plain), plain).detail
    assert row_event(ID, commit_of(7, ordered), ordered).detail["sequence"] == str(2**60)


def text_event(op: Op, before: str | None, after: str | None, key: str | None = '{"id" : 1}') -> Event:
    rows = [None if text is None else RowText.load(text.encode("utf-8", "surrogateescape")) for text in (before, after)]
    change = Change("shop", "orders", op, rows[0], rows[1], None if key is None else RowText(key))
    return row_event(ID, commit_of(7, change), change)


@pytest.mark.parametrize(
    "value",
    ["1.10", "1e999", "9" * 5001, "[" * 5000 + "]" * 5000, '"\\u0000\\ud800"', '{"a":1,"a":2}', '[1,\n"\\n"\r]'],
    ids=["scale", "beyond a double", "5001 digits", "5000 deep", "NUL and half a pair", "twice", "line ends"],
)
def test_a_row_is_sent_as_its_text_on_one_line(value: str) -> None:
    before, after = f'{{"id":1,"x":{value}}}', f'{{"id":1,"x":{value},"y":2}}'
    event = text_event(Op.UPDATE, before, after)
    line = str.maketrans("\n\r", "  ")
    assert (event.detail["before"], event.detail["after"]) == (before.translate(line), after.translate(line))
    assert event.detail["changed"] == ["y"]
    assert "unreadable" not in event.detail


@pytest.mark.parametrize(
    ("before", "after", "key", "reason"),
    [
        ('{"x":1}', '{"x":"\udcfc"}', '{"id" : 1}', "not_utf8"),
        ('{"x":1}', f'{{"x":"{"x" * MAX_DELIVERED}"}}', '{"id" : 1}', "too_large"),
        (f'{{"x":"{"x" * (MAX_DELIVERED // 2)}"}}',) * 2 + ('{"id" : 1}', "too_large"),
        ('{"x":1}', '{"x":1', '{"id" : 1}', "invalid_json"),
        ('{"x":1}', '{"x":2}', f'{{"x":"{"x" * MAX_DELIVERED}"}}', "too_large"),
        ('{"x":1}', '{"x":2}', '{"id":"\udcfc"}', "not_utf8"),
    ],
    ids=["bytes", "large", "large together", "invalid", "large key", "bytes of the key"],
)
def test_a_row_that_cannot_be_sent_says_why_and_names_its_key(before: str, after: str, key: str, reason: str) -> None:
    event = text_event(Op.UPDATE, before, after, key)
    assert event.type is EventType.ROW_UPDATED
    detail = detail_of(event)
    assert (detail["before"], detail["after"], detail["changed"], detail["unreadable"]) == (None, None, [], reason)
    assert detail["key"] == ({"id": 1} if key == '{"id" : 1}' else None)
