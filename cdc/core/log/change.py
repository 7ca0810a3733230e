"""What the database reports: changes of rows, gathered into commits.

The same `Commit` comes out of a notification and out of the log; a notification too large to carry its changes is a
`Hint` that says only where to look.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from .position import Position

__all__ = ["Change", "Commit", "Hint", "LoadJson", "Op", "Probe", "Row", "decode_notification"]

Row = Mapping[str, Any]
"""A row as PostgreSQL's `to_jsonb` gives it: column name to JSON value."""

LoadJson = Callable[[str | bytes], Any]
"""How JSON is read: `json.loads`, or `exact_json.loads` where rows only pass through."""


class Op(StrEnum):
    """What happened to the row, or to the table."""

    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    TRUNCATE = "truncate"


@dataclass(frozen=True, slots=True)
class Change:
    """One row that changed; `before` is None for an insert, `after` for a delete, both for a truncate.

    `sequence` orders the changes of one row in a lane ordered when read, and is None elsewhere.
    """

    schema: str
    table: str
    op: Op
    before: Row | None
    after: Row | None
    key: Row | None = None
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


@dataclass(frozen=True, slots=True)
class Hint:
    """A commit happened at this position; its changes are in the log."""

    position: Position


@dataclass(frozen=True, slots=True)
class Probe:
    """The listener's own notification, which confirms that it still receives them."""

    nonce: str


def decode_change(raw: Mapping[str, Any]) -> Change:
    """A change as the notification and the log spell it in JSON."""
    images = raw.get("before"), raw.get("after"), raw.get("key")
    return Change(raw["schema"], raw["table"], Op(raw["op"]), *images, raw.get("sequence"))


def decode_notification(text: str, loads: LoadJson = json.loads) -> Commit | Hint | Probe | None:
    """Read a notification's payload; None where it is foreign (any session may notify any channel)."""
    try:
        raw = loads(text)
        if "probe" in raw:
            return Probe(str(raw["probe"]))
        position = Position(int(raw["position"]))
        if "changes" not in raw:
            return Hint(position)
        changes = tuple(decode_change(change) for change in raw["changes"])
        return Commit(position, raw["committedAt"], int(raw["xid"]), raw["user"], raw["application"], changes)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
