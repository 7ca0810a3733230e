"""The events of one flag in one commit: the difference between its state before and after.

Only the REST shape before and after the whole commit counts: writes that cancel each other out, and changes of
`BOOKKEEPING` fields alone, cause no event.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .events import EventType
from .flag import BOOKKEEPING, FlagJson, Json

__all__ = ["EventDraft", "flag_events"]

# Segments have events of their own kind.
_NOT_IN_FLAG_UPDATED = frozenset({*BOOKKEEPING, "segments"})
_NO_DETAIL: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class EventDraft:
    """An event of a flag that has no id yet; `flag` is None for a deletion, `flag_key` the key that it names."""

    type: EventType
    flag_key: str
    flag_id: int
    flag: FlagJson | None
    detail: Mapping[str, Any] = field(default_factory=dict)


def flag_events(before: FlagJson | None, after: FlagJson | None) -> list[EventDraft]:
    """Compare two states of one flag; None means that it does not exist."""
    if before is after:
        return []
    if before is None or after is None or before["key"] != after["key"]:
        # The creation or deletion of a flag includes that of its parts.
        deleted = [] if before is None else [_of(EventType.FLAG_DELETED, before, None)]
        created = [] if after is None else [_of(EventType.FLAG_CREATED, after, after)]
        return deleted + created
    return list(_changes(before, after))


def _of(kind: EventType, named: FlagJson, flag: FlagJson | None, detail: Mapping[str, Any] = _NO_DETAIL) -> EventDraft:
    return EventDraft(kind, named["key"], named["id"], flag, detail)


def _changes(before: FlagJson, after: FlagJson) -> Iterator[EventDraft]:
    if any(before[name] != value for name, value in after.items() if name not in _NOT_IN_FLAG_UPDATED):
        yield _of(EventType.FLAG_UPDATED, after, after)
    if before["enabled"] != after["enabled"]:
        kind = EventType.FLAG_ENABLED if after["enabled"] else EventType.FLAG_DISABLED
        yield _of(kind, after, after)
    if before["segments"] != after["segments"]:
        yield from _segment_changes(before, after)
    if before["variants"] != after["variants"]:
        yield from _variant_changes(before, after)


def _segment_changes(before: FlagJson, after: FlagJson) -> Iterator[EventDraft]:
    """All `segment_updated` by rank and id, then all `distribution_updated`.

    The removal of a segment includes that of its distributions.
    """
    old, new = _by_id(before["segments"]), _by_id(after["segments"])
    for segment in sorted((old | new).values(), key=_rank):
        segment_id = segment["id"]
        was, is_now = old.get(segment_id), new.get(segment_id)
        if was is not is_now and _without_distributions(was) != _without_distributions(is_now):
            yield _of(EventType.SEGMENT_UPDATED, after, after, {"segmentID": segment_id, "segment": is_now})
    for segment in after["segments"]:
        was = old.get(segment["id"])
        if (was["distributions"] if was else []) != segment["distributions"]:
            detail = {"segmentID": segment["id"], "distributions": segment["distributions"]}
            yield _of(EventType.DISTRIBUTION_UPDATED, after, after, detail)


def _variant_changes(before: FlagJson, after: FlagJson) -> Iterator[EventDraft]:
    old, new = _by_id(before["variants"]), _by_id(after["variants"])
    for variant_id in sorted(old | new):
        variant = new.get(variant_id)
        if old.get(variant_id) != variant:
            yield _of(EventType.VARIANT_UPDATED, after, after, {"variantID": variant_id, "variant": variant})


def _by_id(items: list[Json]) -> dict[int, Json]:
    return {item["id"]: item for item in items}


def _rank(segment: Json) -> tuple[int, int]:
    return segment["rank"], segment["id"]


def _without_distributions(segment: Json | None) -> dict[str, Any] | None:
    return None if segment is None else {name: value for name, value in segment.items() if name != "distributions"}
