"""Rows that could not be delivered: counted, named, and logged once in a while."""

import logging

import pytest

from cdc.core.flags.events import Event
from cdc.core.flags.row_event import row_event
from cdc.core.log.change import Change, Op
from cdc.core.log.position import EventId, Position
from cdc.core.log.row_text import RowText, Unreadable
from cdc.fanout.unreadable_rows import UnreadableRows
from tests.cdc.core.flagent import LOG, TIME, commit_of
from tests.cdc.fanout.memory import MemoryHub


def inserted(table: str, position: int, row: bytes = b'{"name":"\xfc"}') -> Event:
    change = Change("shop", table, Op.INSERT, None, RowText.load(row))
    return row_event(EventId(Position(position), 0, LOG), commit_of(position, change), change)


def test_rows_are_counted_by_reason_and_the_last_of_each_table_is_named() -> None:
    rows = UnreadableRows()
    rows.note([inserted("orders", 5), inserted("orders", 6), inserted("parcels", 7), inserted("orders", 8, b"{}")])
    assert rows.counts == {Unreadable.NOT_UTF8: 3}
    assert [(row.table, row.reason, row.count, row.position, row.committed_at) for row in rows.entries()] == [
        ("shop.orders", "not_utf8", 2, 6, TIME),
        ("shop.parcels", "not_utf8", 1, 7, TIME),
    ]


def test_a_table_is_logged_once_in_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    rows = UnreadableRows(lambda: now)
    for at in (0.0, 1.0, 59.0, 60.0):
        now = at
        rows.note([inserted("orders", int(at) + 1)])
    rows.note([inserted("parcels", 9)])
    logged = [(record.levelno, record.table, record.count) for record in caplog.records]  # type: ignore[attr-defined]
    assert logged == [
        (logging.WARNING, "shop.orders", 1),
        (logging.WARNING, "shop.orders", 4),
        (logging.WARNING, "shop.parcels", 1),
    ]


async def test_a_hub_notes_what_it_publishes() -> None:
    memory = MemoryHub()
    memory.hub.publish([commit_of(1, Change("shop", "orders", Op.INSERT, None, RowText.load(b'{"name":"\xfc"}')))])
    assert [row.table for row in memory.hub.unreadable.entries()] == ["shop.orders"]
