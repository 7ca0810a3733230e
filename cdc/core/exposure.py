"""Exposures: how often clients that evaluate themselves got each variant of a flag.

A request carries counts, not users. Counts of one process are added up here until they are written.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from .errors import InvalidInput

__all__ = [
    "MAX_COUNT",
    "MAX_ENTRIES",
    "Exposure",
    "ExposureCounts",
    "ExposureKey",
    "MinuteCount",
    "read_exposures",
    "usage_document",
]

MAX_ENTRIES = 1_000
MAX_COUNT = 1_000_000
MAX_TEXT = 256

MAX_KEPT = 10_000
"""Different counts that one process keeps until they are written."""


class ExposureKey(NamedTuple):
    """What is counted; `variant` None is an evaluation without a variant."""

    schema: str
    flag: str
    variant: str | None


@dataclass(frozen=True, slots=True)
class Exposure:
    """One entry of a request; `schema` None is the default one."""

    schema: str | None
    flag: str
    variant: str | None
    count: int


def read_exposures(body: bytes) -> list[Exposure]:
    """The entries of a request's body, `{"exposures": [{"flagKey", "variantKey", "count", "schema"?}]}`.

    Raises `InvalidInput` that names the entry and the member.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidInput("the body must be JSON", name="body", code="invalid_json") from error
    entries = document.get("exposures") if isinstance(document, Mapping) else None
    if not isinstance(entries, list) or not 1 <= len(entries) <= MAX_ENTRIES:
        raise InvalidInput(f"exposures must be a list of 1 to {MAX_ENTRIES} objects", name="exposures")
    return [_read(f"exposures[{place}]", entry) for place, entry in enumerate(entries)]


def _read(name: str, entry: object) -> Exposure:
    if not isinstance(entry, Mapping):
        raise InvalidInput(f"{name} must be an object", name=name)
    unknown = set(entry) - {"flagKey", "variantKey", "count", "schema"}
    if unknown:
        shown = str(min(unknown))[:64]
        raise InvalidInput(f"{name} has an unknown member {shown!r}", name=f"{name}.{shown}", code="unknown_field")
    count = entry.get("count")
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MAX_COUNT:
        raise InvalidInput(f"{name}.count must be an integer from 1 to {MAX_COUNT}", name=f"{name}.count")
    variant, schema = entry.get("variantKey"), entry.get("schema")
    return Exposure(
        None if schema is None else _text(f"{name}.schema", schema),
        _text(f"{name}.flagKey", entry.get("flagKey")),
        None if variant is None else _text(f"{name}.variantKey", variant),
        count,
    )


def _text(name: str, value: object) -> str:
    # PostgreSQL stores no NUL, and a lone surrogate is not UTF-8.
    if isinstance(value, str) and 0 < len(value) <= MAX_TEXT and "\0" not in value:
        try:
            value.encode()
        except UnicodeEncodeError:
            pass
        else:
            return value
    raise InvalidInput(f"{name} must be a text of 1 to {MAX_TEXT} characters", name=name)


class ExposureCounts:
    """Counts by key until they are taken; beyond `MAX_KEPT` keys the oldest are dropped, and counted in `dropped`."""

    def __init__(self) -> None:
        self._counts: dict[ExposureKey, int] = {}
        self.accepted = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._counts)

    def add(self, key: ExposureKey, count: int) -> None:
        self.accepted += count
        self._counts[key] = self._counts.get(key, 0) + count
        self._bound()

    def take(self) -> dict[ExposureKey, int]:
        """All counts; they begin anew."""
        taken, self._counts = self._counts, {}
        return taken

    def give_back(self, taken: Mapping[ExposureKey, int]) -> None:
        """Counts that could not be written; they are older than those that came meanwhile."""
        newer, self._counts = self._counts, dict(taken)
        for key, count in newer.items():
            self._counts[key] = self._counts.get(key, 0) + count
        self._bound()

    def _bound(self) -> None:
        while len(self._counts) > MAX_KEPT:
            self.dropped += self._counts.pop(next(iter(self._counts)))


@dataclass(frozen=True, slots=True)
class MinuteCount:
    """A count of one minute, whose beginning is given in RFC 3339."""

    minute: str
    variant: str | None
    count: int


def usage_document(flag: str, minutes: Iterable[MinuteCount]) -> dict[str, Any]:
    """The answer about one flag."""
    listed = [{"minute": each.minute, "variantKey": each.variant, "count": each.count} for each in minutes]
    return {"flagKey": flag, "minutes": listed, "total": sum(each["count"] for each in listed)}
