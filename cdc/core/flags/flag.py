"""A flag as clients see it: the REST shape of Flagent, rendered from rows of its tables.

Rows have the form of PostgreSQL's `to_jsonb`. Key order is fixed, so the same rows always give the same text. Rendered
objects are shared by all events and snapshots that contain them: treat them as read-only.

Rows with `deleted_at` set are ignored, also those of constraints and distributions.

>>> local_time("2026-03-27T08:23:53.5"), local_time("2026-03-27T08:23:00")
('2026-03-27T08:23:53.500', '2026-03-27T08:23')
>>> attachment('{"color": "blue", "limit": 10, "on": true, "none": null}')
{'color': 'blue', 'limit': '10', 'on': 'true', 'none': 'null'}
>>> attachment('{"nested": {"a": 1}}') is None
True
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..log.row_text import Row
from ..text import kotlin_json
from ..text.json_text import encode_sorted

__all__ = [
    "BOOKKEEPING",
    "FlagJson",
    "Json",
    "attachment",
    "canonical_text",
    "constraint_json",
    "depends_on",
    "distribution_json",
    "flag_json",
    "flag_outline",
    "is_live",
    "local_time",
    "segment_json",
    "tag_json",
    "tag_values",
    "variant_json",
]

Json = Mapping[str, Any]
FlagJson = Mapping[str, Any]
"""A whole flag in the REST shape; read-only."""

BOOKKEEPING = ("snapshotID", "updatedAt", "updatedBy")
"""Fields that Flagent changes on every save; a change of these alone is no event."""

# Only a snapshot of several schemas adds the schema.
_NOT_CANONICAL = frozenset({*BOOKKEEPING, "schema"})

_OUTLINE = ("id", "key", "tags", "projectId", "environmentId")

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d):(\d\d)(?:\.(\d{1,9}))?", re.ASCII)


def is_live(row: Row) -> bool:
    """Whether a row is not soft-deleted; tables without soft delete hold only live rows."""
    return row.get("deleted_at") is None


def local_time(text: str | None) -> str | None:
    """A `timestamp` as Java prints it: a fraction of 3, 6 or 9 digits or none, and no seconds when both are zero.

    Other timestamps (`infinity`, years beyond 9999) are returned unchanged.
    """
    match = None if text is None else _TIME.fullmatch(text)
    if match is None:
        return text
    minute, second, fraction = match.groups()
    digits = (fraction or "").rstrip("0")
    if digits:
        return f"{minute}:{second}.{digits.ljust(-(-len(digits) // 3) * 3, '0')}"
    return minute if second == "00" else f"{minute}:{second}"


def _parse(text: str | None) -> Any:
    """The decoded content of a column, None where Flagent cannot decode it."""
    try:
        return kotlin_json.loads(text) if text else None
    except ValueError:
        return None


def _content(value: object) -> str | None:
    """A scalar as text, None for an array or an object."""
    match value:
        case str():
            return value
        case True:
            return "true"
        case False:
            return "false"
        case None:
            return "null"
        case _:
            return None


def depends_on(text: str | None) -> list[str]:
    """The keys in `flags.depends_on`; empty when the column holds NULL or anything but an array of scalars.

    >>> depends_on('["a", "b"]'), depends_on(None), depends_on("a, b"), depends_on('[1, "a", null]')
    (['a', 'b'], [], [], ['1', 'a', 'null'])
    """
    stored = _parse(text)
    if not isinstance(stored, list):
        return []
    keys = [key for value in stored if (key := _content(value)) is not None]
    return keys if len(keys) == len(stored) else []


def attachment(text: str | None) -> dict[str, str] | None:
    """The attachment of a variant for evaluation: string to string; None if a value is nested."""
    stored = _parse(text)
    if not isinstance(stored, dict):
        return None
    values = {name: content for name, value in stored.items() if (content := _content(value)) is not None}
    return values if len(values) == len(stored) else None


def variant_json(row: Row) -> dict[str, Any]:
    """A variant in the REST shape, which strips `"` from both ends of attachment values; evaluation does not."""
    values = attachment(row.get("attachment"))
    if values:
        values = {name: value.strip('"') for name, value in values.items()}
    return {"id": row["id"], "flagID": row["flag_id"], "key": row.get("key") or "", "attachment": values}


def tag_json(row: Row) -> dict[str, Any]:
    return {"id": row["id"], "value": row["value"]}


def constraint_json(row: Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "segmentID": row["segment_id"],
        "property": row["property"],
        "operator": row["operator"],
        "value": row["value"],
    }


def distribution_json(row: Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "segmentID": row["segment_id"],
        "variantID": row["variant_id"],
        "variantKey": row.get("variant_key"),
        "percent": row["percent"],
    }


def _created(row: Row) -> tuple[str, int]:
    # to_jsonb drops trailing zeros of a fraction; the texts still sort like the times.
    return row.get("created_at") or "", row["id"]


def _variant(row: Row) -> tuple[int, int]:
    return row["variant_id"], row["id"]


def segment_json(row: Row, constraints: Iterable[Row], distributions: Iterable[Row]) -> dict[str, Any]:
    """A segment with its live constraints, ordered by creation, and its live distributions, by variant; ties by id."""
    return {
        "id": row["id"],
        "flagID": row["flag_id"],
        "description": row.get("description"),
        "rank": row["rank"],
        "rolloutPercent": row["rollout_percent"],
        "constraints": [constraint_json(child) for child in sorted(filter(is_live, constraints), key=_created)],
        "distributions": [distribution_json(child) for child in sorted(filter(is_live, distributions), key=_variant)],
    }


def flag_json(row: Row, segments: Sequence[Json], variants: Sequence[Json], tags: Sequence[Json]) -> FlagJson:
    """A live flag with its rendered, ordered parts."""
    return {
        "id": row["id"],
        "key": row["key"],
        "description": row["description"],
        "createdBy": row.get("created_by"),
        "updatedBy": row.get("updated_by"),
        "enabled": row["enabled"],
        "snapshotID": row["snapshot_id"],
        "notes": row.get("notes"),
        "dataRecordsEnabled": row["data_records_enabled"],
        "entityType": row.get("entity_type"),
        "environmentId": row.get("environment_id"),
        "projectId": row.get("project_id"),
        "dependsOn": depends_on(row.get("depends_on")),
        "segments": segments,
        "variants": variants,
        "tags": tags,
        "updatedAt": local_time(row.get("updated_at")),
        "archived": False,
    }


def tag_values(flag: FlagJson | None) -> frozenset[str]:
    return frozenset() if flag is None else frozenset(tag["value"] for tag in flag["tags"])


def flag_outline(flag: FlagJson) -> FlagJson:
    """What a flag is selected by, without its content."""
    return {name: flag[name] for name in _OUTLINE}


def canonical_text(flag: FlagJson) -> str:
    """The text that digests are computed from: the flag without bookkeeping fields, keys in code point order.

    Any client can produce the same text: no blanks, only the escapes of `JSON.stringify`.
    """
    return encode_sorted({name: value for name, value in flag.items() if name not in _NOT_CANONICAL})
