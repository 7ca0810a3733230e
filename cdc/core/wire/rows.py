"""The rows of a table as newline-delimited JSON: a line that announces them, a line per row, and a last line.

Only the last line proves that all rows arrived: an interrupted answer has none.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from ..change_feed.cursor import Cursor
from ..log.captured_table import CapturedTable
from ..log.position import EventId
from ..log.row_text import MAX_DELIVERED, readable_key, why_unreadable
from ..text.exact_json import on_one_line
from ..text.json_text import encode
from . import websocket
from .changes import ChangeFormat, snapshot_tail

__all__ = ["CONTENT_TYPE", "RowLines", "RowsPiece", "filter_ended", "rows_text", "stream_message"]

CONTENT_TYPE = "application/x-ndjson"


class RowsPiece(NamedTuple):
    """A part of a backfill on a stream: `rows`, `rows_end`, which alone has an id, or `backfill_failed`."""

    kind: str
    text: str
    id: EventId | None = None


def rows_text(rows: Iterable[tuple[str | None, str]], progress: Mapping[str, Any]) -> str:
    """`{"table", "sent", "estimated", "rows": [{"key", "row"}]}` on one line."""
    items = ",".join([_item(key, row, MAX_DELIVERED) for key, row in rows])
    return f'{encode(progress)[:-1]},"rows":[{items}]}}'


def _item(key: str | None, row: str, limit: int | None = None) -> str:
    unreadable = why_unreadable(key, row, limit=limit)
    if unreadable is not None:
        return f'{{"key":{_on_one_line(readable_key(key))},"row":null,"unreadable":"{unreadable}"}}'
    return f'{{"key":{_on_one_line(key)},"row":{on_one_line(row)}}}'


def _on_one_line(key: str | None) -> str:
    return "null" if key is None else on_one_line(key)


def stream_message(piece: RowsPiece, transport: Literal["sse", "websocket"]) -> bytes:
    """The SSE block or WebSocket message of a part."""
    if transport == "sse":
        id = "" if piece.id is None else f"id: {piece.id}\n"
        return f"event: {piece.kind}\n{id}data: {piece.text}\n\n".encode()
    id = "" if piece.id is None else f'"id":"{piece.id}",'
    return f'{{"type":"{piece.kind}",{id}{piece.text[1:]}'.encode()


def filter_ended(code: str, message: str, transport: Literal["sse", "websocket"]) -> bytes:
    """The last message of a stream whose filter no longer fits its table; without an id, so that it resumes where it
    was."""
    if transport == "sse":
        return f"event: filter_ended\ndata: {encode({'code': code, 'message': message})}\n\n".encode()
    return websocket.error(code, message, None).encode()


class RowLines:
    """Encodes the rows of one table as of `cursor`; `at` is the time of reading, `version` that of the server."""

    def __init__(
        self, format: ChangeFormat, table: CapturedTable, cursor: Cursor, *, at: str, database: str, version: str
    ) -> None:
        self._table = table
        self._cursor = cursor
        self._at = at
        self._tail = (
            snapshot_tail(table, cursor.position, at, database, version) if format is ChangeFormat.DEBEZIUM else None
        )

    def begin(self, estimated_rows: int | None) -> str:
        """The first line; of filtered rows it is not known how many there are."""
        return self._line(
            {
                "table": self._table.name,
                "position": str(self._cursor.position),
                "readAt": self._at,
                "estimatedRows": estimated_rows,
            }
        )

    def rows(self, rows: Iterable[tuple[str | None, str]]) -> str:
        """The lines of rows, given as key and row in JSON."""
        return "".join([self._row(key, row) for key, row in rows])

    def end(self, count: int) -> str:
        """The last line."""
        return self._line({"next": str(self._cursor), "rows": count})

    def _row(self, key: str | None, row: str) -> str:
        if self._tail is None:
            return _item(key, row) + "\n"
        unreadable = why_unreadable(key, row)
        if unreadable is not None:
            tail = f'"after":null,"unreadable":"{unreadable}"{self._tail}'
            return f'{{"key":{_on_one_line(readable_key(key))},"value":{{"before":null,{tail}\n'
        tail = f'"after":{on_one_line(row)}{self._tail}'
        return f'{{"key":{_on_one_line(key)},"value":{{"before":null,{tail}\n'

    @staticmethod
    def _line(document: dict[str, Any]) -> str:
        return encode(document) + "\n"
