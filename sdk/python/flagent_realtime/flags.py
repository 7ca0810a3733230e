"""Flags in the JSON shape of Flagent's REST API, typed and decoded leniently.

A field that is missing or has the wrong type gets its default (``0``, ``""``, ``False``, ``()`` or ``None``); an
unknown field is available in ``raw``. A newer server therefore does not break a client.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

__all__ = ["Constraint", "Distribution", "Flag", "Segment", "Tag", "Variant"]

_T = TypeVar("_T")
Json = Mapping[str, Any]


def _int(data: Json, name: str) -> int:
    value = data.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _optional_int(data: Json, name: str) -> int | None:
    value = data.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _str(data: Json, name: str) -> str:
    value = data.get(name)
    return value if isinstance(value, str) else ""


def _optional_str(data: Json, name: str) -> str | None:
    value = data.get(name)
    return value if isinstance(value, str) else None


def _bool(data: Json, name: str) -> bool:
    return data.get(name) is True


def _items(data: Json, name: str, build: Callable[[Json], _T]) -> tuple[_T, ...]:
    value = data.get(name)
    return tuple(build(item) for item in value if isinstance(item, dict)) if isinstance(value, list) else ()


@dataclass(frozen=True)
class Constraint:
    """A condition on one property of the entity's context; ``operator`` is EQ, NEQ, IN, LT, EREG and so on."""

    id: int
    segment_id: int
    property: str
    operator: str
    value: str

    @classmethod
    def from_json(cls, data: Json) -> Constraint:
        return cls(
            _int(data, "id"),
            _int(data, "segmentID"),
            _str(data, "property"),
            _str(data, "operator"),
            _str(data, "value"),
        )


@dataclass(frozen=True)
class Distribution:
    """The percentage of a segment's entities that get a variant; ``percent`` is 0 to 100."""

    id: int
    segment_id: int
    variant_id: int
    variant_key: str | None
    percent: int

    @classmethod
    def from_json(cls, data: Json) -> Distribution:
        return cls(
            _int(data, "id"),
            _int(data, "segmentID"),
            _int(data, "variantID"),
            _optional_str(data, "variantKey"),
            _int(data, "percent"),
        )


@dataclass(frozen=True)
class Segment:
    """A group of entities: those that meet all constraints, ``rollout_percent`` of which get a variant.

    Segments are evaluated by ascending ``rank``. ``distributions`` divide the entities among variants.
    """

    id: int
    flag_id: int
    description: str | None
    rank: int
    rollout_percent: int
    constraints: tuple[Constraint, ...]
    distributions: tuple[Distribution, ...]
    raw: Json = field(repr=False, compare=False, default_factory=dict)

    @classmethod
    def from_json(cls, data: Json) -> Segment:
        return cls(
            _int(data, "id"),
            _int(data, "flagID"),
            _optional_str(data, "description"),
            _int(data, "rank"),
            _int(data, "rolloutPercent"),
            _items(data, "constraints", Constraint.from_json),
            _items(data, "distributions", Distribution.from_json),
            data,
        )


@dataclass(frozen=True)
class Variant:
    """A possible result of a flag; ``attachment`` maps strings to strings, or is ``None``."""

    id: int
    flag_id: int
    key: str
    attachment: Mapping[str, str] | None
    raw: Json = field(repr=False, compare=False, default_factory=dict)

    @classmethod
    def from_json(cls, data: Json) -> Variant:
        attachment = data.get("attachment")
        return cls(
            _int(data, "id"),
            _int(data, "flagID"),
            _str(data, "key"),
            {name: value for name, value in attachment.items() if isinstance(value, str)}
            if isinstance(attachment, dict)
            else None,
            data,
        )


@dataclass(frozen=True)
class Tag:
    """A tag of a flag."""

    id: int
    value: str

    @classmethod
    def from_json(cls, data: Json) -> Tag:
        return cls(_int(data, "id"), _str(data, "value"))


@dataclass(frozen=True)
class Flag:
    """A feature flag as of one commit; ``raw`` is the JSON object it was decoded from."""

    id: int
    key: str
    enabled: bool
    description: str
    created_by: str | None
    updated_by: str | None
    snapshot_id: int
    notes: str | None
    data_records_enabled: bool
    entity_type: str | None
    environment_id: int | None
    project_id: int | None
    depends_on: tuple[str, ...]
    segments: tuple[Segment, ...]
    variants: tuple[Variant, ...]
    tags: tuple[Tag, ...]
    updated_at: str | None
    archived: bool
    schema: str | None = None
    raw: Json = field(repr=False, compare=False, default_factory=dict)

    @classmethod
    def from_json(cls, data: Json, schema: str | None = None) -> Flag:
        """Decode a flag; *schema* applies when the object has none."""
        depends_on = data.get("dependsOn")
        return cls(
            id=_int(data, "id"),
            key=_str(data, "key"),
            enabled=_bool(data, "enabled"),
            description=_str(data, "description"),
            created_by=_optional_str(data, "createdBy"),
            updated_by=_optional_str(data, "updatedBy"),
            snapshot_id=_int(data, "snapshotID"),
            notes=_optional_str(data, "notes"),
            data_records_enabled=_bool(data, "dataRecordsEnabled"),
            entity_type=_optional_str(data, "entityType"),
            environment_id=_optional_int(data, "environmentId"),
            project_id=_optional_int(data, "projectId"),
            depends_on=tuple(key for key in depends_on if isinstance(key, str)) if isinstance(depends_on, list) else (),
            segments=_items(data, "segments", Segment.from_json),
            variants=_items(data, "variants", Variant.from_json),
            tags=_items(data, "tags", Tag.from_json),
            updated_at=_optional_str(data, "updatedAt"),
            archived=_bool(data, "archived"),
            schema=_optional_str(data, "schema") or schema,
            raw=data,
        )

    @property
    def too_large(self) -> int | None:
        """The flag's size in bytes where it was too large to be sent whole: without segments, variants and more."""
        return _optional_int(self.raw, "tooLarge")

    @property
    def tag_values(self) -> frozenset[str]:
        """The values of the tags."""
        return frozenset(tag.value for tag in self.tags)
