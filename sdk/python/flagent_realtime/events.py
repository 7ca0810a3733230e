"""Typed events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Union

from .errors import MalformedMessage
from .flags import Distribution, Flag, Segment, Variant

__all__ = ["EventData", "EventType", "FlagentEvent"]


class EventType(str, Enum):
    """The event types. A type that this SDK does not know is UNKNOWN, with its name in ``type_name``."""

    FLAG_CREATED = "flag_created"
    FLAG_UPDATED = "flag_updated"
    FLAG_DELETED = "flag_deleted"
    FLAG_ENABLED = "flag_enabled"
    FLAG_DISABLED = "flag_disabled"
    SEGMENT_UPDATED = "segment_updated"
    DISTRIBUTION_UPDATED = "distribution_updated"
    VARIANT_UPDATED = "variant_updated"
    ROW_INSERTED = "row_inserted"
    ROW_UPDATED = "row_updated"
    ROW_DELETED = "row_deleted"
    TABLE_TRUNCATED = "table_truncated"
    SCHEMA_CHANGED = "schema_changed"
    """The columns of a watched table changed: ``data`` has ``before``, ``after`` and ``rewritten``."""
    RESYNC = "resync"
    """The server could not replay: ``data`` is the tuple of all selected flags, which replaces the state."""
    UNKNOWN = ""


_FLAG_TYPES = frozenset(
    {EventType.FLAG_CREATED, EventType.FLAG_UPDATED, EventType.FLAG_ENABLED, EventType.FLAG_DISABLED}
)
SEGMENT_TYPES = frozenset({EventType.SEGMENT_UPDATED, EventType.DISTRIBUTION_UPDATED})
ROW_TYPES = frozenset(
    {
        EventType.ROW_INSERTED,
        EventType.ROW_UPDATED,
        EventType.ROW_DELETED,
        EventType.TABLE_TRUNCATED,
        EventType.SCHEMA_CHANGED,
    }
)
_TYPES = {member.value: member for member in EventType if member is not EventType.UNKNOWN}

EventData = Union[Flag, Segment, Variant, tuple[Distribution, ...], tuple[Flag, ...], str, Mapping[str, Any], None]


@dataclass(frozen=True)
class FlagentEvent:
    """One event about a flag, or about a row or the columns of a watched table.

    ``data`` depends on ``type``:

    - ``flag_created``, ``flag_updated``, ``flag_enabled``, ``flag_disabled``: the :class:`Flag`
    - ``flag_deleted``: the key
    - ``segment_updated``: the :class:`Segment`, ``None`` when it was removed
    - ``distribution_updated``: the tuple of :class:`Distribution`
    - ``variant_updated``: the :class:`Variant`, ``None`` when it was removed
    - ``resync``: the tuple of all selected flags
    - row events, ``schema_changed`` and unknown types: the message as a mapping

    ``flag`` is the flag as of the event's commit, ``None`` where the event has none. ``id`` is the event id, from which
    a client can resume. ``committed_at`` is ISO-8601 in UTC. ``raw`` is the message.
    """

    type: EventType
    type_name: str
    id: str | None
    flag_key: str | None
    flag_id: int | None
    schema: str | None
    committed_at: str | None
    data: EventData
    flag: Flag | None = None
    raw: Mapping[str, Any] = field(repr=False, compare=False, default_factory=dict)

    @property
    def table(self) -> str | None:
        """The table of a row event, as ``schema.table``; otherwise ``None``."""
        return _string(self.raw.get("table"))

    @property
    def unreadable(self) -> str | None:
        """Why a row event has no rows (``too_large``, ``not_utf8``, ``invalid_json``); otherwise ``None``."""
        return _string(self.raw.get("unreadable"))

    @property
    def segment_id(self) -> int | None:
        """The id of the segment of a segment or distribution event, also when it was removed."""
        return _integer(self.raw.get("segmentID"))

    @property
    def variant_id(self) -> int | None:
        """The id of the variant of a variant event, also when it was removed."""
        return _integer(self.raw.get("variantID"))


def _string(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def decode_event(message: Mapping[str, Any]) -> FlagentEvent:
    """Decode an event object; raises :exc:`MalformedMessage` when a field that its type requires is missing."""
    name = message.get("type")
    if not isinstance(name, str):
        raise MalformedMessage("a message has no type")
    kind = _TYPES.get(name, EventType.UNKNOWN)
    if kind is EventType.RESYNC:
        return _decode_resync(message)
    schema = _string(message.get("schema"))
    raw_flag = message.get("flag")
    if raw_flag is not None and (not isinstance(raw_flag, dict) or not isinstance(raw_flag.get("key"), str)):
        raise MalformedMessage(f"the flag of a {name} message is not an object with a key")
    flag = None if raw_flag is None else Flag.from_json(raw_flag, schema)
    flag_key = _string(message.get("flagKey")) or (flag.key if flag is not None else None)
    flag_id = _integer(message.get("flagID"))
    if flag_id is None and flag is not None:
        flag_id = flag.id
    return FlagentEvent(
        type=kind,
        type_name=name,
        id=_string(message.get("id")),
        flag_key=flag_key,
        flag_id=flag_id,
        schema=schema,
        committed_at=_string(message.get("committedAt")),
        data=_data(kind, message, flag, flag_key),
        flag=flag,
        raw=message,
    )


def _decode_resync(message: Mapping[str, Any]) -> FlagentEvent:
    snapshot = message.get("snapshot")
    flags = snapshot.get("flags") if isinstance(snapshot, dict) else None
    if not isinstance(flags, list):
        raise MalformedMessage("a resync has no list of flags")
    return FlagentEvent(
        type=EventType.RESYNC,
        type_name="resync",
        id=_string(message.get("id")),
        flag_key=None,
        flag_id=None,
        schema=None,
        committed_at=None,
        data=tuple(Flag.from_json(flag) for flag in flags if isinstance(flag, dict)),
        raw=message,
    )


def _data(kind: EventType, message: Mapping[str, Any], flag: Flag | None, flag_key: str | None) -> EventData:
    if kind in _FLAG_TYPES:
        if flag is None:
            raise MalformedMessage(f"a {kind.value} message has no flag")
        return flag
    if kind is EventType.FLAG_DELETED:
        if flag_key is None:
            raise MalformedMessage("a flag_deleted message has no key")
        return flag_key
    if kind is EventType.SEGMENT_UPDATED:
        segment = message.get("segment")
        return Segment.from_json(segment) if isinstance(segment, dict) else None
    if kind is EventType.DISTRIBUTION_UPDATED:
        items = message.get("distributions")
        if not isinstance(items, list):
            return ()
        return tuple(Distribution.from_json(item) for item in items if isinstance(item, dict))
    if kind is EventType.VARIANT_UPDATED:
        variant = message.get("variant")
        return Variant.from_json(variant) if isinstance(variant, dict) else None
    return message
