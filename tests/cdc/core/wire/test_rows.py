"""Rows as newline-delimited JSON."""

import json

import pytest

from cdc.core.change_feed.cursor import Cursor
from cdc.core.log.captured_table import CapturedTable
from cdc.core.log.lane import FLAGS
from cdc.core.log.position import EventId, LogId, Position
from cdc.core.log.row_text import MAX_DELIVERED, RowText
from cdc.core.wire.changes import ChangeFormat
from cdc.core.wire.rows import RowLines, RowsPiece, rows_text, stream_message

TABLE = CapturedTable(1, "shop", "orders", ("id",), None, (), ("insert",), False, FLAGS)
AT = "2026-11-23T08:00:00.123456Z"


def lines(format: ChangeFormat) -> RowLines:
    cursor = Cursor(Position(7), None, LogId("k7q2mx"))
    return RowLines(format, TABLE, cursor, at=AT, database="db", version="1")


def test_the_first_line_announces_the_rows_and_the_last_one_the_next_cursor() -> None:
    writer = lines(ChangeFormat.JSON)
    assert json.loads(writer.begin(9)) == {"table": "shop.orders", "position": "7", "readAt": AT, "estimatedRows": 9}
    assert json.loads(writer.end(3)) == {"next": "7@k7q2mx", "rows": 3}


def test_each_row_is_one_line_whatever_is_in_it() -> None:
    text = lines(ChangeFormat.JSON).rows([('{"id":1}', '{"id":1,"j":{"a":\r\n1}}'), (None, '{"n":1.10}')])
    first, second, rest = text.split("\n")
    assert json.loads(first) == {"key": {"id": 1}, "row": {"id": 1, "j": {"a": 1}}}
    assert second == '{"key":null,"row":{"n":1.10}}'
    assert rest == ""


def test_debezium_reads() -> None:
    (line,) = lines(ChangeFormat.DEBEZIUM).rows([('{"id":1}', '{"id":1}')]).splitlines()
    record = json.loads(line)
    value = record["value"]
    assert (record["key"], value["op"], value["before"], value["after"]) == ({"id": 1}, "r", None, {"id": 1})
    assert (value["transaction"], value["source"]["snapshot"], value["source"]["txId"]) == (None, "true", None)
    assert value["source"]["lsn"] == 7 << 24
    assert value["ts_ms"] == 1795420800123


def test_on_a_stream_a_piece_is_one_event_and_only_the_end_has_an_id() -> None:
    text = rows_text([('{"id":1}', '{"id":1,"j":{"a":\n1}}'), (None, "{}")], {"table": "shop.orders", "sent": 2})
    piece = RowsPiece("rows", text)
    end = RowsPiece("rows_end", '{"rows":2}', EventId(Position(7), None, LogId("k7q2mx")))
    kind, data, *rest = stream_message(piece, "sse").decode().split("\n")
    assert (kind, rest) == ("event: rows", ["", ""])
    rows = [{"key": {"id": 1}, "row": {"id": 1, "j": {"a": 1}}}, {"key": None, "row": {}}]
    expected = {"table": "shop.orders", "sent": 2, "rows": rows}
    assert json.loads(data.removeprefix("data: ")) == expected
    assert json.loads(stream_message(piece, "websocket")) == {"type": "rows", **expected}
    assert stream_message(end, "sse") == b'event: rows_end\nid: 7@k7q2mx\ndata: {"rows":2}\n\n'
    assert json.loads(stream_message(end, "websocket")) == {"type": "rows_end", "id": "7@k7q2mx", "rows": 2}


@pytest.mark.parametrize("format", [ChangeFormat.JSON, ChangeFormat.DEBEZIUM])
def test_a_row_that_is_not_utf8_is_marked_and_the_others_follow(format: ChangeFormat) -> None:
    latin1 = RowText.load(b'{"id":1,"name":"\xfc"}').text
    first, second = map(json.loads, lines(format).rows([('{"id":\n1}', latin1), ("{}", "{}")]).splitlines())
    marked, whole = (first["value"], second["value"]) if format is ChangeFormat.DEBEZIUM else (first, second)
    name = "after" if format is ChangeFormat.DEBEZIUM else "row"
    assert (first["key"], marked[name], marked["unreadable"]) == ({"id": 1}, None, "not_utf8")
    assert (whole[name], "unreadable" in whole) == ({}, False)


def test_on_a_stream_a_row_that_is_too_large_is_marked() -> None:
    row = f'{{"x":"{"x" * MAX_DELIVERED}"}}'
    (found,) = json.loads(rows_text([('{"id":1}', row)], {"sent": 1}))["rows"]
    assert found == {"key": {"id": 1}, "row": None, "unreadable": "too_large"}
    assert row in lines(ChangeFormat.JSON).rows([('{"id":1}', row)])
