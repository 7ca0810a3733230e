"""The index from a changed row of one table to those whose filter it may satisfy.

A filter that implies an equality is found by the value in the row, before or after the change: of ten thousand tenants
a row is compared with one. All others are evaluated once per distinct filter, however many have it.
"""

from collections.abc import Hashable, Iterator
from typing import Any, Generic, TypeVar

from ..flags.events import Event, EventType
from ..log.row_text import RowText
from ..row_filter.binding import IndexKey
from ..row_filter.row_filter import RowFilter, RowView

__all__ = ["RowIndex"]

T = TypeVar("T", bound=Hashable)

# Most tenants have a few connections; a tuple takes a fifth of the memory of a dict.
_FEW = 8

_Bucket = tuple[T, ...] | dict[T, None]


class RowIndex(Generic[T]):
    """Entries with a filter of the same table."""

    __slots__ = ("_by_filter", "_by_value")

    def __init__(self) -> None:
        self._by_filter: dict[RowFilter, dict[T, None]] = {}
        self._by_value: dict[tuple[str, str], tuple[IndexKey, dict[Any, _Bucket[T]]]] = {}

    def __bool__(self) -> bool:
        return bool(self._by_filter or self._by_value)

    def add(self, entry: T, filter: RowFilter) -> None:
        key = filter.key
        if key is None:
            self._by_filter.setdefault(filter, {})[entry] = None
            return
        _, values = self._by_value.setdefault(key.place, (key, {}))
        for value in key.values:
            bucket = values.get(value, ())
            if isinstance(bucket, dict):
                bucket[entry] = None
            elif entry not in bucket:
                values[value] = (*bucket, entry) if len(bucket) < _FEW else dict.fromkeys((*bucket, entry))

    def remove(self, entry: T, filter: RowFilter) -> None:
        key = filter.key
        if key is None:
            entries = self._by_filter.get(filter, {})
            entries.pop(entry, None)
            if not entries:
                self._by_filter.pop(filter, None)
            return
        place = key.place
        if place not in self._by_value:
            return
        _, values = self._by_value[place]
        for value in key.values:
            _remove(values, value, entry)
        if not values:
            del self._by_value[place]

    def candidates(self, event: Event, views: dict[RowFilter, RowView | None]) -> Iterator[T]:
        """The entries that an event may be for, perhaps some more than once; `views` receives what was evaluated."""
        for filter, entries in self._by_filter.items():
            view = views[filter] = filter.view(event)
            if view is not None:
                yield from entries
        for key, values in self._by_value.values():
            if event.rows is None or event.type is EventType.TABLE_TRUNCATED:
                # It is for everybody, or it is unknown for whom.
                for bucket in values.values():
                    yield from bucket
                continue
            for value in {_value(key, row) for row in event.rows}:
                yield from values.get(value, ())


def _value(key: IndexKey, row: RowText | None) -> Any:
    """The comparable value of the column; None, which no key has, where there is none."""
    try:
        value = None if row is None else row.row.get(key.column)
        return None if value is None else key.type.read(value)
    except (ValueError, ArithmeticError, TypeError, RecursionError):
        return None


def _remove(buckets: dict[Any, _Bucket[T]], name: Any, entry: T) -> None:
    bucket = buckets.get(name, ())
    if isinstance(bucket, dict):
        bucket.pop(entry, None)
    else:
        bucket = tuple(each for each in bucket if each != entry)
    if bucket:
        buckets[name] = bucket
    else:
        buckets.pop(name, None)
