"""A row of the change log: the JSON text that PostgreSQL made of it.

Rows of watched tables only pass through, so they are not decoded: whatever a column holds, its text arrives as it is.
What needs the values decodes them once, with `row`.

>>> RowText.of({"id": 7}).row["id"], changed_columns(RowText('{"a":1.10}'), RowText('{"a":1.1}'))
(7, ['a'])
"""

import json
import re
from collections.abc import Callable, Hashable, Mapping
from enum import StrEnum
from typing import Any, NamedTuple, Self, TypeVar, cast

from ..text.exact_json import loads_object, members, scan, skip

__all__ = [
    "LARGE",
    "MAX_DELIVERED",
    "Row",
    "RowText",
    "Unreadable",
    "changed_columns",
    "read_row",
    "readable_key",
    "scan_row",
    "skip_row",
    "why_unreadable",
]

T = TypeVar("T")

Row = Mapping[str, Any]
"""A decoded row: column name to value. Numbers with a decimal point, and what cannot be decoded, are `JsonText`."""

# Decoding a larger text may take a hundred times its size in memory, in one call that nothing can interrupt.
LARGE = 1024 * 1024

MAX_DELIVERED = 4 * 1024 * 1024
"""The rows of one message of a stream, before and after together, in characters. Clients limit the size of a message
(the SDKs to 64 MiB), would reconnect and meet the same message again; and to compare larger rows delays all else."""

# A larger key would itself be too large for every message that carries it.
_MAX_KEY = 64 * 1024

# What `surrogateescape` makes of bytes that are not UTF-8; an escape in JSON stays an escape.
_NOT_UTF8 = re.compile("[\udc80-\udcff]")


class Unreadable(StrEnum):
    """Why a row cannot be delivered."""

    TOO_LARGE = "too_large"
    NOT_UTF8 = "not_utf8"
    INVALID_JSON = "invalid_json"


class _Failure(NamedTuple):
    text: str


class RowText:
    """A row as JSON text. Bytes that are not UTF-8 are escaped as by `surrogateescape`."""

    __slots__ = ("_remembered", "_row", "text")

    def __init__(self, text: str, row: Row | None = None) -> None:
        """`row` is what the text decodes to, where that is known already."""
        self.text = text
        self._row = row
        self._remembered: dict[Hashable, Any] | None = None

    @classmethod
    def of(cls, row: Row) -> Self:
        return cls(json.dumps(row, ensure_ascii=False, separators=(",", ":")))

    @classmethod
    def load(cls, data: bytes | str) -> Self:
        """From a column of type json."""
        return cls(data if isinstance(data, str) else bytes(data).decode("utf-8", "surrogateescape"))

    @property
    def row(self) -> Row:
        """The values; raises `ValueError` where it is not a JSON object."""
        if self._row is None:
            self._row = loads_object(self.text)
        return self._row

    def with_text(self, text: str) -> Self:
        """The same row, with an equal text that is in memory anyway."""
        return type(self)(text, self._row)

    def forget(self) -> None:
        """Give up the values, which are decoded again when they are asked for."""
        self._row = None
        self._remembered = None

    def remember(self, key: Hashable, read: Callable[[], T]) -> T:
        """What `read` returns, or raises as `ValueError`, without calling it twice for a key until `forget`."""
        if self._remembered is None:
            self._remembered = {}
        if key not in self._remembered:
            try:
                self._remembered[key] = read()
            except ValueError as error:
                self._remembered[key] = _Failure(str(error))
        found = self._remembered[key]
        if isinstance(found, _Failure):
            raise ValueError(found.text)
        return cast(T, found)

    @property
    def size_bytes(self) -> int:
        return len(self.text) if self.text.isascii() else len(self.text.encode("utf-8", "surrogateescape"))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RowText) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"RowText({self.text!r})"


def scan_row(text: str, at: int) -> tuple[RowText | None, int]:
    """A row or null within a larger text; raises `ValueError` where it is none, and besides `RecursionError` where it
    cannot be decoded."""
    if text.startswith("null", at):
        return None, at + 4
    row, end = scan(text, at)
    if type(row) is not dict:
        raise ValueError(f"a row was expected at {at}")
    return RowText(text[at:end], row), end


def read_row(text: str, at: int) -> tuple[RowText | None, int]:
    """The same, whatever it holds, in a text that is known to be valid."""
    try:
        return scan_row(text, at)
    except (ValueError, RecursionError):
        return skip_row(text, at)


def skip_row(text: str, at: int) -> tuple[RowText | None, int]:
    """The same without decoding it."""
    end = skip(text, at)
    row = text[at:end]
    return None if row == "null" else RowText(row), end


def why_unreadable(*texts: str | None, limit: int | None = None) -> Unreadable | None:
    """Why texts of rows, with at most `limit` characters together, cannot be delivered; None where they can."""
    size, is_readable = 0, True
    for text in texts:
        if text is not None:
            size += len(text)
            is_readable = is_readable and _is_utf8(text)
    if limit is not None and size > limit:
        return Unreadable.TOO_LARGE
    return None if is_readable else Unreadable.NOT_UTF8


def readable_key(key: str | None) -> str | None:
    """The key of a row that cannot be delivered, where the key can be."""
    return None if key is None or len(key) > _MAX_KEY or not _is_utf8(key) else key


def _is_utf8(text: str) -> bool:
    return text.isascii() or _NOT_UTF8.search(text) is None


def changed_columns(before: RowText, after: RowText) -> list[str]:
    """The columns whose values differ, in the order of `after`, then those that are missing in it.

    Raises `ValueError` where a row is not a JSON object.
    """
    if before.text == after.text:
        return []
    if len(before.text) + len(after.text) <= LARGE and (changed := _differences(before.row, after.row)):
        return changed
    # What decodes to the same value may still be another text: a key of a json column that is there twice, or blanks.
    return _differences(members(before.text), members(after.text))


def _differences(before: Row, after: Row) -> list[str]:
    changed = [name for name, value in after.items() if name not in before or before[name] != value]
    return changed + [name for name in before if name not in after]
