"""Changes of the change feed: their cursors, and their events for subscribers."""

from dataclasses import replace

from cdc.core.change_feed.logged_change import LoggedChange
from cdc.core.change_feed.snapshot_visibility import SnapshotVisibility
from cdc.core.flags.events import EventType
from cdc.core.log.change import Op
from cdc.core.log.position import LogId, Position
from cdc.core.log.row_text import RowText, Unreadable
from cdc.core.log.schema_change import SchemaChange, SchemaColumn
from cdc.core.row_filter.row_filter import RowFilter
from tests.cdc.core.flagent import detail_of

LOG = LogId("k7q2mxs2")

CHANGE = LoggedChange(
    position=Position(1052), index=40, count=42, committed_at="2026-11-23T08:00:00.123456Z", xid=1052, user="shop",
    application="psql", schema="shop", table="orders", op=Op.UPDATE, key='{"id":5}', before='{"id":5,"n":1}',
    after='{"id":5,"n":2}', has_sequence=True,
)  # fmt: skip


def test_a_cursor_carries_what_was_seen_until_that_lies_behind() -> None:
    seen = SnapshotVisibility(1050, 1054, frozenset({1052}))
    assert str(CHANGE.cursor(LOG)) == "1052.40@k7q2mxs2.e40d1c"
    assert str(CHANGE.cursor(LOG, seen)) == "1052.40~1050_4_2@k7q2mxs2.e40d1c"
    assert str(replace(CHANGE, index=42).cursor(LOG, seen)) == "1052~1050_4_2@k7q2mxs2.e40d1c"
    assert str(replace(CHANGE, position=Position(1053), index=42).cursor(LOG, seen)) == "1053@k7q2mxs2.e40d1c"
    assert str(replace(CHANGE, position=Position(1053)).cursor(LOG, seen)) == "1053.40~1050_4_2@k7q2mxs2.e40d1c"
    assert str(replace(CHANGE, position=Position(1054)).cursor(LOG, seen)) == "1054.40@k7q2mxs2.e40d1c"


def test_its_event_equals_that_of_the_stream() -> None:
    event = CHANGE.event(LOG)
    assert (event.type, event.schema, event.committed_at) == (EventType.ROW_UPDATED, "shop", CHANGE.committed_at)
    assert detail_of(event) == {
        "table": "shop.orders",
        "key": {"id": 5},
        "before": {"id": 5, "n": 1},
        "after": {"id": 5, "n": 2},
        "changed": ["n"],
        "transaction": "1052",
        "user": "shop",
        "application": "psql",
        "sequence": "40",
    }
    gone = replace(CHANGE, op=Op.TRUNCATE, key=None, before=None, after=None, has_sequence=False).event(LOG)
    assert (gone.type, gone.detail["key"], "sequence" in gone.detail) == (EventType.TABLE_TRUNCATED, None, False)


def test_rows_that_are_not_utf8_are_left_out() -> None:
    latin1 = RowText.load(b'{"id":5,"n":"\xfc"}').text
    assert CHANGE.readable() is CHANGE
    found = replace(CHANGE, after=latin1).readable()
    assert (found.key, found.before, found.after, found.unreadable) == (CHANGE.key, None, None, Unreadable.NOT_UTF8)
    assert replace(CHANGE, key=latin1).readable().key is None


def test_a_change_of_columns_is_narrowed_to_those_of_a_filter() -> None:
    id, mail = SchemaColumn("id", "bigint"), SchemaColumn("mail", "text")
    before, after = SchemaChange((id,), (id, mail), rewritten=False).images()
    altered = replace(CHANGE, op=Op.SCHEMA, key=None, before=before, after=after)
    assert altered.readable() is altered
    assert altered.seen_by(RowFilter("shop.orders")) == altered
    assert altered.seen_by(RowFilter("shop.orders", (), frozenset({"id"}))) is None
    seen = altered.seen_by(RowFilter("shop.orders", (), frozenset({"mail"})))
    assert seen is not None
    assert seen.schema_change == SchemaChange((), (mail,), rewritten=False)
    assert seen.event(LOG).type is EventType.SCHEMA_CHANGED
