"""The events that subscribers receive."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from ..log.position import EventId
from ..log.row_text import RowText

__all__ = ["Event", "EventType", "FlagScope", "RowImages"]


class EventType(StrEnum):
    """The type of an event, as on the wire."""

    FLAG_CREATED = "flag_created"
    FLAG_UPDATED = "flag_updated"
    FLAG_ENABLED = "flag_enabled"
    FLAG_DISABLED = "flag_disabled"
    FLAG_DELETED = "flag_deleted"
    SEGMENT_UPDATED = "segment_updated"
    DISTRIBUTION_UPDATED = "distribution_updated"
    VARIANT_UPDATED = "variant_updated"
    ROW_INSERTED = "row_inserted"
    ROW_UPDATED = "row_updated"
    ROW_DELETED = "row_deleted"
    TABLE_TRUNCATED = "table_truncated"
    SCHEMA_CHANGED = "schema_changed"


class FlagScope(NamedTuple):
    """The properties of a flag, besides its key, that a grant can restrict."""

    tags: frozenset[str]
    project_id: int | None
    environment_id: int | None


class RowImages(NamedTuple):
    """A row before and after a change, for filters."""

    before: RowText | None
    after: RowText | None

    def forget(self) -> None:
        """Give up what the rows were decoded to: an event may be kept for long."""
        for row in self:
            if row is not None:
                row.forget()


@dataclass(frozen=True, slots=True)
class Event:
    """A change of one flag, of one row of a watched table, or of a watched table's columns, in one commit.

    `flag` is the whole flag as of that commit, in the REST shape, None for `flag_deleted` and for rows. `tags` are
    the flag's tags before and after the commit, so a subscriber by tag also receives the removal of the tag. `detail`
    holds the fields of the type: `segmentID`, `segment`, `distributions`, `variantID`, `variant`, or `table`, `key`,
    `before`, `after`, `changed`, `transaction`, `user`, `application`; where columns changed, `before` and `after` are
    these, beside `rewritten`. `before` is the scope of the flag before the commit, None if the flag did not exist;
    grants are checked against it, and it is never sent. `rows` are those of an event about a row, None where they
    cannot be read.
    """

    id: EventId
    type: EventType
    schema: str
    committed_at: str
    flag_key: str | None
    flag_id: int | None
    tags: frozenset[str]
    flag: Mapping[str, Any] | None
    detail: Mapping[str, Any]
    before: FlagScope | None = None
    rows: RowImages | None = None
