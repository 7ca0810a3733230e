"""A change of a watched table's columns.

In the log its images are objects, as those of rows are: `{"columns": [{"name", "type"}]}`, the one after it with
`rewritten`. Readers get the lists alone.

>>> change = SchemaChange.read(
...     RowText('{"columns":[{"name":"id","type":"bigint"}]}'), RowText('{"columns":[],"rewritten":true}')
... )
>>> change.to_json()
{'before': [{'name': 'id', 'type': 'bigint'}], 'after': [], 'rewritten': True}
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

from .row_text import RowText

__all__ = ["SchemaChange", "SchemaColumn"]


class SchemaColumn(NamedTuple):
    """`type` is what PostgreSQL calls it, with its length or precision."""

    name: str
    type: str

    def to_json(self) -> dict[str, str]:
        return {"name": self.name, "type": self.type}


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """The published columns `before` and `after`. `rewritten`: rows hold something else now, and no change of a row in
    the log says so: a client that keeps rows must read them again."""

    before: tuple[SchemaColumn, ...]
    after: tuple[SchemaColumn, ...]
    rewritten: bool

    @classmethod
    def read(cls, before: RowText | None, after: RowText | None) -> Self:
        """From the images in the log."""
        old, new = ({} if image is None else image.row for image in (before, after))
        return cls(_columns(old.get("columns", ())), _columns(new.get("columns", ())), bool(new.get("rewritten")))

    @classmethod
    def of_json(cls, members: Mapping[str, Any]) -> Self:
        """From what `to_json` made."""
        return cls(_columns(members["before"]), _columns(members["after"]), members["rewritten"])

    def to_json(self) -> dict[str, Any]:
        return {
            "before": [column.to_json() for column in self.before],
            "after": [column.to_json() for column in self.after],
            "rewritten": self.rewritten,
        }

    def images(self) -> tuple[str, str]:
        """The images in the log, as text."""
        members = self.to_json()
        before, after = {"columns": members["before"]}, {"columns": members["after"], "rewritten": self.rewritten}
        return _text(before), _text(after)

    def within(self, columns: frozenset[str] | None) -> Self | None:
        """What of it concerns a reader of these columns, of all where None; None where nothing does."""
        if columns is None:
            return self
        before, after = (tuple([c for c in side if c.name in columns]) for side in (self.before, self.after))
        return replace(self, before=before, after=after) if before != after or self.rewritten else None


def _columns(raw: Sequence[Mapping[str, str]]) -> tuple[SchemaColumn, ...]:
    return tuple([SchemaColumn(_readable(each["name"]), _readable(each["type"])) for each in raw])


def _readable(name: str) -> str:
    """A database without an encoding may hold a name that is not UTF-8."""
    return name if name.isascii() else name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _text(image: Mapping[str, Any]) -> str:
    return json.dumps(image, ensure_ascii=False, separators=(",", ":"))
