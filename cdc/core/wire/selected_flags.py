"""What a selection selects of a catalog at one position, in chunks that are encoded and compressed once.

It stays as it was when it was made, however long its readers take, at the cost of the chunks that have changed since.
"""

from collections.abc import Iterator

from ..flags.catalog import Catalog
from ..flags.flag_chunks import MOST_FLAGS, FlagChunk
from ..flags.stored_flag import StoredFlag
from ..subscription.selection import Selection, Selections
from .deflate import GzipPart

__all__ = ["SelectedFlags"]

# Level 6 compared with 1 on events of 600 bytes: 8 % smaller, 10 µs slower, once for all readers.
_LEVEL = 6


class SelectedFlags:
    """A sequence of chunks; the text of one may be empty, where none of its flags is selected.

    `position` is that of the catalog.
    """

    __slots__ = ("_bound", "_chunks", "_is_filtered", "_parts", "_selections", "_with_schema", "position")

    def __init__(self, catalog: Catalog, selections: Selections) -> None:
        self.position = catalog.position
        self._bound = catalog.bound
        self._selections = selections
        self._with_schema = len(catalog.schemas) > 1
        self._is_filtered = False
        self._parts: dict[int, GzipPart | None] = {}
        if selections.is_everything:
            self._chunks = catalog.chunks()
        elif all(_is_listed(clause) for clause in selections.clauses):
            self._chunks = _listed(catalog, selections)
        else:
            self._chunks = catalog.chunks()
            self._is_filtered = True

    def __len__(self) -> int:
        return len(self._chunks)

    def text(self, place: int) -> bytes:
        """The JSON of the selected flags of a chunk, with commas between them."""
        schema, chunk = self._chunks[place]
        flags: Iterator[StoredFlag] | tuple[StoredFlag, ...] = chunk.flags
        if self._is_filtered:
            selects = self._selections.selects
            flags = (flag for flag in flags if selects(schema, flag.id, flag.key, flag.scope))
        bound = self._bound
        if self._with_schema:
            return b",".join([flag.text_with_schema(bound, schema) for flag in flags])
        return b",".join([flag.text(bound) for flag in flags])

    def part(self, place: int) -> GzipPart | None:
        """The same compressed, once; of a whole chunk, once for all positions at which it is the same. None where it is
        empty."""
        if not self._is_filtered:
            schema, chunk = self._chunks[place]
            name = ("sent", schema if self._with_schema else None)
            return chunk.encoded(name, lambda: GzipPart.of(self.text(place), _LEVEL))
        if place not in self._parts:
            text = self.text(place)
            self._parts[place] = GzipPart.of(text, _LEVEL) if text else None
        return self._parts[place]

    def block(self, place: int) -> bytes:
        """The same as a deflate block."""
        part = self.part(place)
        return b"" if part is None else part.block

    def whole(self) -> bytes:
        """All texts in one, with commas between them."""
        return b",".join([text for place in range(len(self)) if (text := self.text(place))])


def _is_listed(clause: Selection) -> bool:
    """Whether everything that it selects has an index."""
    return bool(clause.within_ids) or not (clause.everything or clause.segments)


def _listed(catalog: Catalog, selections: Selections) -> list[tuple[str, FlagChunk]]:
    """The selected flags, found by their ids, keys and tags."""
    chunks: list[tuple[str, FlagChunk]] = []
    for schema in catalog.schemas:
        found: dict[int, StoredFlag] = {}
        for clause in selections.clauses:
            for flag in _candidates(catalog, schema, clause):
                if flag.id not in found and clause.selects(schema, flag.id, flag.key, flag.scope):
                    found[flag.id] = flag
        flags = [found[flag_id] for flag_id in sorted(found)]
        chunks += [
            (schema, FlagChunk(tuple(flags[start : start + MOST_FLAGS]))) for start in range(0, len(flags), MOST_FLAGS)
        ]
    return chunks


def _candidates(catalog: Catalog, schema: str, clause: Selection) -> Iterator[StoredFlag]:
    for flag_id in clause.within_ids or clause.flag_ids:
        if (flag := catalog.stored(schema, flag_id)) is not None:
            yield flag
    if clause.within_ids:
        return
    for key in clause.flag_keys:
        if (flag := catalog.stored_by_key(schema, key)) is not None:
            yield flag
    for tag in clause.tags:
        yield from catalog.stored_by_tag(schema, tag)
