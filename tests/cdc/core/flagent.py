"""Flagent's tables as a writer sees them, in memory: every write is recorded as the triggers would record it."""

import json
from collections.abc import Callable, Iterable
from typing import Any

from cdc.core.flags.catalog import Catalog
from cdc.core.flags.events import Event
from cdc.core.flags.flag_tables import TABLES
from cdc.core.log.change import Change, Commit, Op
from cdc.core.log.position import LogId, Position
from cdc.core.log.row_text import Row, RowText
from cdc.core.text.json_text import encode_members

LOG = LogId("k7q2mx")
TIME = "2026-11-23T08:00:00.123456Z"

_CHILDREN = {
    "flags": (("segments", "flag_id"), ("variants", "flag_id"), ("flags_tags", "flag_id")),
    "segments": (("constraints", "segment_id"), ("distributions", "segment_id")),
    "variants": (("distributions", "variant_id"),),
    "tags": (("flags_tags", "tag_id"),),
}

_COMMON = {"created_at": "2026-03-27T08:23:53.887467", "updated_at": None, "deleted_at": None}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "flags": {
        "description": "",
        "created_by": None,
        "updated_by": None,
        "enabled": False,
        "snapshot_id": 0,
        "notes": None,
        "data_records_enabled": False,
        "entity_type": None,
        "environment_id": None,
        "depends_on": None,
        "project_id": None,
        **_COMMON,
    },
    "segments": {"description": None, "rank": 999, "rollout_percent": 0, **_COMMON},
    "variants": {"key": "on", "attachment": None, **_COMMON},
    "constraints": {"property": "country", "operator": "EQ", "value": "US", **_COMMON},
    "distributions": {"variant_key": "on", "percent": 100, "bitmap": None, **_COMMON},
    "tags": {**_COMMON},
    "flags_tags": {},
}


def change_of(
    schema: str,
    table: str,
    op: Op,
    before: Row | None,
    after: Row | None,
    key: Row | None = None,
    sequence: int | None = None,
) -> Change:
    """A change whose rows are given as values."""
    # As `json_build_object` spells it.
    key_text = None if key is None else RowText(json.dumps(key, separators=(", ", " : ")))
    rows = [None if row is None else RowText.of(row) for row in (before, after)]
    return Change(schema, table, op, rows[0], rows[1], key_text, sequence)


def detail_of(event: Event) -> dict[str, Any]:
    """The details of an event as a client reads them."""
    return dict(json.loads(encode_members(event.detail)))


class Flagent:
    """One schema; `commit()` hands over what was written since the last one."""

    def __init__(self, schema: str = "public", first: int = 1) -> None:
        self.schema = schema
        self.tables: dict[str, dict[int, dict[str, Any]]] = {table: {} for table in TABLES}
        self.changes: list[Change] = []
        self.position = first - 1
        self._last_id = 0

    def insert(self, table: str, **columns: Any) -> int:
        self._last_id += 1
        row = {"id": self._last_id, **_DEFAULTS[table], **columns}
        self.tables[table][row["id"]] = row
        self._record(table, Op.INSERT, None, row)
        return int(row["id"])

    def update(self, table: str, row_id: int, **columns: Any) -> None:
        before = self.tables[table][row_id]
        after = {**before, **columns}
        if after != before:
            del self.tables[table][row_id]
            self.tables[table][after["id"]] = after
            self._record(table, Op.UPDATE, before, after)

    def delete(self, table: str, row_id: int) -> None:
        """A hard delete; the cascade follows its parent."""
        self._record(table, Op.DELETE, self.tables[table].pop(row_id), None)
        for child, column in _CHILDREN.get(table, ()):
            for row in [row for row in self.tables[child].values() if row[column] == row_id]:
                self.delete(child, row["id"])

    def truncate(self, *tables: str) -> None:
        """A truncate with the rows logged as deletes before it."""
        for table in tables:
            for row in self.tables[table].values():
                self._record(table, Op.DELETE, row, None)
            self.tables[table] = {}
            self._record(table, Op.TRUNCATE, None, None)

    def _record(self, table: str, op: Op, before: dict[str, Any] | None, after: dict[str, Any] | None) -> None:
        key = {"id": (after or before or {})["id"]} if after or before else None
        self.changes.append(change_of(self.schema, table, op, before, after, key))

    def commit(self, *others: Change) -> Commit:
        self.position += 1
        changes, self.changes = (*self.changes, *others), []
        return commit_of(self.position, *changes)

    def catalog(self) -> Catalog:
        """A catalog loaded from the rows as they are."""
        catalog = Catalog(LOG)
        catalog.load(self.schema, {table: rows.values() for table, rows in self.tables.items()}, Position(0))
        catalog.position = Position(self.position)
        return catalog

    def flag(self, key: str, **columns: Any) -> int:
        return self.insert("flags", key=key, **columns)

    def tag(self, flag_id: int, value: str) -> int:
        known = [row["id"] for row in self.tables["tags"].values() if row["value"] == value]
        tag_id = known[0] if known else self.insert("tags", value=value)
        self.insert("flags_tags", flag_id=flag_id, tag_id=tag_id)
        return tag_id

    def save(self, flag_id: int) -> None:
        """Flagent's tail of every call: the whole row again with a new snapshot (spec a.3, SNAP)."""
        row = self.tables["flags"][flag_id]
        self.update(
            "flags",
            flag_id,
            snapshot_id=row["snapshot_id"] + 1,
            updated_by="ann",
            updated_at=f"2026-03-27T09:00:00.{row['snapshot_id']:06d}",
        )


def commit_of(position: int, *changes: Change) -> Commit:
    return Commit(Position(position), TIME, 771, "app", "test", changes)


class Observed:
    """A Flagent and a catalog that follows it."""

    def __init__(self) -> None:
        self.flagent = Flagent()
        self.catalog = Catalog(LOG)
        self.catalog.attach("public")

    def commit(self, *others: Change) -> list[Event]:
        return self.catalog.apply(self.flagent.commit(*others))

    def call(self, flag_id: int, *steps: Callable[[], object]) -> list[Event]:
        """Each step in a commit of its own, then Flagent's tail."""
        events = []
        for step in steps:
            step()
            events += self.commit()
        self.flagent.save(flag_id)
        return events + self.commit()


def summaries(events: Iterable[Event]) -> list[str]:
    """Type and key of each event, for short expectations."""
    return [f"{event.type} {event.flag_key}" for event in events]
