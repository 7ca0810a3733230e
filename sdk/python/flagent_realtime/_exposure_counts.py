"""Counts of exposures until they are reported. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

MAX_KEPT = 10_000
MAX_ENTRIES = 1_000
MAX_COUNT = 1_000_000


class CountKey(NamedTuple):
    """What is counted together."""

    schema: str | None
    flag_key: str
    variant_key: str | None


class ExposureCounts:
    """Adds up; beyond :data:`MAX_KEPT` different keys the oldest are dropped, and counted in ``dropped``."""

    def __init__(self) -> None:
        self._counts: dict[CountKey, int] = {}
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._counts)

    def add(self, key: CountKey, count: int = 1) -> None:
        self._counts[key] = self._counts.get(key, 0) + count
        while len(self._counts) > MAX_KEPT:
            self.dropped += self._counts.pop(next(iter(self._counts)))

    def take(self) -> dict[CountKey, int]:
        """The oldest counts that fit one request."""
        keys = list(self._counts)[:MAX_ENTRIES]
        taken = {key: min(self._counts[key], MAX_COUNT) for key in keys}
        for key, count in taken.items():
            rest = self._counts[key] - count
            if rest:
                self._counts[key] = rest
            else:
                del self._counts[key]
        return taken

    def give_back(self, taken: Mapping[CountKey, int]) -> None:
        """Counts that could not be sent; they are older than those that came meanwhile."""
        newer, self._counts = self._counts, {}
        for key, count in [*taken.items(), *newer.items()]:
            self.add(key, count)


def report_body(counts: Mapping[CountKey, int]) -> dict[str, Any]:
    """The body of ``POST /api/v1/exposures``."""
    return {
        "exposures": [
            {
                "flagKey": key.flag_key,
                "variantKey": key.variant_key,
                "count": count,
                **({} if key.schema is None else {"schema": key.schema}),
            }
            for key, count in counts.items()
        ]
    }
