"""What the database reports: changes of rows, gathered into commits.

The same `Commit` comes out of a notification and out of the log; a notification too large to carry its changes is a
`Hint` that says only where to look.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ..text.exact_json import read_array, read_object
from .position import CommitHash, Position, commit_hash
from .row_text import LARGE, RowText, read_row, scan_row, skip_row

__all__ = ["Change", "Commit", "Hint", "Op", "Probe", "decode_change", "decode_notification", "read_commit"]


class Op(StrEnum):
    """What happened to the row, or to the table."""

    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    TRUNCATE = "truncate"
    SCHEMA = "schema"


@dataclass(frozen=True, slots=True)
class Change:
    """One row that changed; `before` is None for an insert, `after` for a delete, both for a truncate. For a change of
    the table's columns they are the images that `SchemaChange` reads.

    `sequence` orders the changes of one row in a lane ordered when read, and is None elsewhere.
    """

    schema: str
    table: str
    op: Op
    before: RowText | None
    after: RowText | None
    key: RowText | None = None
    sequence: int | None = None


@dataclass(frozen=True, slots=True)
class Commit:
    """The changes of one transaction, in the order in which it made them.

    `committed_at` is ISO-8601 in UTC with microseconds and `Z`, taken just before the commit. One that is too large to
    be read at once comes in parts: `begin` changes came before these, and more come after them unless it `ends` here.
    Parts hold changes of watched tables alone.
    `indexes` are the changes' numbers in the log where these do not go on by one: a savepoint that was rolled back
    leaves a hole.
    """

    position: Position
    committed_at: str
    xid: int
    user: str
    application: str
    changes: tuple[Change, ...]
    begin: int = 0
    ends: bool = True
    indexes: tuple[int, ...] = ()

    @property
    def characters(self) -> int:
        """The length of its rows."""
        rows = (row for change in self.changes for row in (change.before, change.after))
        return sum([len(row.text) for row in rows if row is not None])

    @property
    def hash(self) -> CommitHash:
        """What event ids and cursors say of it beside its position."""
        return commit_hash(self.committed_at, self.xid)


@dataclass(frozen=True, slots=True)
class Hint:
    """A commit happened at this position; its changes are in the log."""

    position: Position


@dataclass(frozen=True, slots=True)
class Probe:
    """The listener's own notification, which confirms that it still receives them."""

    nonce: str


def decode_change(raw: Mapping[str, Any]) -> Change:
    """A change as a commit's message spells it in JSON."""
    rows = raw.get("before"), raw.get("after"), raw.get("key")
    return Change(raw["schema"], raw["table"], Op(raw["op"]), *rows, raw.get("sequence"))


def read_commit(text: str) -> dict[str, Any]:
    """The message of a commit, with rows as text; `decode_change` takes each of its `changes`. Raises `ValueError`."""
    readers = dict.fromkeys(("key", "before", "after"), read_row if len(text) <= LARGE else skip_row)

    def read_change(text: str, at: int) -> tuple[dict[str, Any], int]:
        return read_object(text, at, readers)

    return read_object(text, 0, {"changes": lambda text, at: read_array(text, at, read_change)})[0]


# -- notifications ---------------------------------------------------------------------------------------------------

_STRING = r'"([^"\\]*(?:\\.[^"\\]*)*)"'
_HEAD = re.compile(
    rf'\{{"position":(\d{{1,19}}),"xid":(\d{{1,20}}),"committedAt":{_STRING},"user":{_STRING},"application":{_STRING},"changes":\['
)
_CHANGE = re.compile(rf',?\{{"schema":{_STRING},"table":{_STRING},"op":"(\w+)","key":')
_BEFORE, _AFTER = ',"before":', ',"after":'


def decode_notification(text: str) -> Commit | Hint | Probe | None:
    """Read a notification's payload; None where it is foreign (any session may notify any channel).

    Only what is spelled as `assign_position()` and `change_json()` spell it is a commit: their fixed order finds the
    text of each row at the cost of decoding it. Whatever else names a position is a hint, and then the log is read.
    """
    try:
        head = _HEAD.match(text)
        if head is None:
            raw, _ = read_object(text, 0, {})
            return Probe(str(raw["probe"])) if "probe" in raw else Hint(Position(int(raw["position"])))
        position = Position(int(head[1]))
        try:
            changes = tuple(_read_changes(text, head.end()))
        except (ValueError, RecursionError):
            return Hint(position)
        return Commit(position, head[3], int(head[2]), _string(head[4]), _string(head[5]), changes)
    except (ValueError, KeyError, TypeError):
        return None


def _read_changes(text: str, at: int) -> Iterator[Change]:
    while not text.startswith("]}", at):
        start = _CHANGE.match(text, at)
        if start is None:
            raise ValueError(f"a change was expected at {at}")
        schema, table, op = start.groups()
        key, at = scan_row(text, start.end())
        if not text.startswith(_BEFORE, at):
            raise ValueError(f"a row was expected at {at}")
        before, at = scan_row(text, at + len(_BEFORE))
        if not text.startswith(_AFTER, at):
            raise ValueError(f"a row was expected at {at}")
        after, at = scan_row(text, at + len(_AFTER))
        yield Change(_string(schema), _string(table), Op(op), before, after, key)
        at += 1


def _string(inside: str) -> str:
    return str(json.loads(f'"{inside}"')) if "\\" in inside else inside
