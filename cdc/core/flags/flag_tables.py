"""A replica of Flagent's seven tables in one schema, as flags.

Rows are kept with the flag that they belong to, packed (`FlagRows`); only what finds the flag of a row is indexed. A
row whose parent is unknown is kept too: with deferred foreign keys the child may come first, and in a cascade the
parent is deleted first.
"""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Self

from ..log.change import Change, Op
from ..log.row_text import Row, RowText
from .events import FlagScope
from .flag import FlagJson
from .flag_bound import FlagBound
from .flag_chunks import FlagChunk, FlagChunks
from .flag_rows import COLUMNS, PARTS, FlagRows, Values, as_values, pack
from .stored_flag import StoredFlag

__all__ = ["TABLES", "FlagTables"]

TABLES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "flags": ("key",),
        "segments": ("flag_id",),
        "variants": ("flag_id",),
        "constraints": ("segment_id",),
        "distributions": ("segment_id",),
        "tags": (),
        "flags_tags": ("flag_id", "tag_id"),
    }
)

"""Flagent's tables, each with the columns by which its rows are found; the only list of them besides the SQL."""

# Rendered flags that are remembered: those that change or are evaluated often. About 8 KB of memory each.
_RENDERED = 1_000

_SEGMENTS, _LINKS = PARTS.index("segments"), PARTS.index("flags_tags")
_PROJECT = COLUMNS["flags"].index("project_id")
_ENVIRONMENT = COLUMNS["flags"].index("environment_id")

_NOWHERE = FlagScope(frozenset(), None, None)

_NO_ROWS: Mapping[tuple[str, int], Values] = MappingProxyType({})


class FlagTables:
    """One schema's flags. What was put or applied is visible at once."""

    __slots__ = (
        "_chunks", "_crc_sum", "_flags", "_keys", "_loose", "_open", "_rendered", "_scopes", "_segments", "_tagged",
        "_tags", "_unhashed"
    )  # fmt: skip

    def __init__(self) -> None:
        self._flags: dict[int, StoredFlag] = {}
        self._open: dict[int, FlagRows] = {}  # flags that are being changed, newer than in `_flags`
        self._chunks = FlagChunks()
        self._keys: dict[str, int | tuple[int, ...]] = {}
        self._segments: dict[int, int] = {}  # the flag of each segment
        self._loose: dict[int, dict[tuple[str, int], Values]] = {}  # rows of segments that are unknown
        self._tags: dict[int, Values] = {}
        self._tagged: dict[int, set[int]] = {}  # the flags of each tag
        self._rendered: dict[int, tuple[StoredFlag, FlagJson]] = {}
        self._scopes: dict[FlagScope, FlagScope] = {}  # most flags have the same few
        self._crc_sum = 0
        self._unhashed: dict[int, None] = {}  # live flags whose CRC is not in the sum yet

    # -- reading -------------------------------------------------------------------------------------------------

    @property
    def flag_ids(self) -> Iterable[int]:
        """The ids of all flags, including soft-deleted ones."""
        self._close_all()
        return [flag_id for flag_id, flag in self._flags.items() if flag.is_live or flag.rows().own is not None]

    @property
    def live_count(self) -> int:
        self._close_all()
        return len(self._chunks)

    def stored(self, flag_id: int) -> StoredFlag | None:
        """The flag, None when it is deleted or unknown. The same object until it changes."""
        if flag_id in self._open:
            self._close(flag_id)
        flag = self._flags.get(flag_id)
        return flag if flag is not None and flag.is_live else None

    def flag(self, flag_id: int) -> FlagJson | None:
        """The same in the REST shape: the same object until it changes, as long as not many others are asked for."""
        flag = self.stored(flag_id)
        return None if flag is None else self._render(flag)

    def stored_by_key(self, key: str) -> StoredFlag | None:
        """The live flag with this key; keys are unique, so there is at most one."""
        self._close_all()
        for flag_id in _ids(self._keys.get(key)):
            if (flag := self.stored(flag_id)) is not None:
                return flag
        return None

    def flag_by_key(self, key: str) -> FlagJson | None:
        flag = self.stored_by_key(key)
        return None if flag is None else self._render(flag)

    def stored_by_tag(self, tag: str) -> list[StoredFlag]:
        """The live flags with a tag, by id."""
        self._close_all()
        ids = [
            flag_id
            for tag_id, values in self._tags.items()
            if values[1] == tag and values[-1] is None
            for flag_id in self._tagged.get(tag_id, ())
        ]
        return [flag for flag_id in sorted(set(ids)) if (flag := self.stored(flag_id)) is not None]

    def chunks(self) -> tuple[FlagChunk, ...]:
        """All live flags by id; what was returned does not change any more."""
        self._close_all()
        return self._chunks.chunks(self._flags)

    def attachments(self, flag_id: int) -> Mapping[int, Mapping[str, str] | None]:
        """The attachments of the live variants by variant id, with the quotes that the REST view strips."""
        flag = self.stored(flag_id)
        return {} if flag is None else flag.rows().attachments()

    def _render(self, flag: StoredFlag) -> FlagJson:
        known = self._rendered.get(flag.id)
        if known is not None and known[0] is flag:
            return known[1]
        if len(self._rendered) >= _RENDERED:
            self._rendered.clear()
        rendered = flag.render()
        self._rendered[flag.id] = flag, rendered
        return rendered

    def crc_sum(self, bound: FlagBound) -> int:
        """The sum of the CRC of every live flag; its cost is that of `unhashed` flags."""
        for _ in self.hash_in_turns(bound):
            pass
        return self._crc_sum

    def hash_in_turns(self, bound: FlagBound) -> Iterator[None]:
        """Encode and hash every flag that was not, one at each step; flags may change between two steps."""
        self._close_all()
        while self._unhashed:
            flag_id = next(iter(self._unhashed))
            self._crc_sum += self._flags[flag_id].crc(bound)
            del self._unhashed[flag_id]
            yield
            self._close_all()

    @property
    def unhashed(self) -> int:
        """How many flags the next `crc_sum` has to encode."""
        self._close_all()
        return len(self._unhashed)

    def forget_encodings(self) -> None:
        """Before another bound is used."""
        self._close_all()
        for flag in self._flags.values():
            flag.forget_encodings()
        self._crc_sum = 0
        self._unhashed = {flag_id: None for flag_id, flag in self._flags.items() if flag.is_live}
        self._chunks.forget_encodings()

    # -- loading -------------------------------------------------------------------------------------------------

    def put(self, table: str, row: Row) -> None:
        """Add a row, in any order."""
        self._put(table, as_values(table, row))

    def put_values(self, table: str, values: Values) -> None:
        """The same of a row whose values are in the order of `COLUMNS`."""
        self._put(table, values)

    def put_tag(self, values: Values) -> None:
        """Add a tag, before the flags that it belongs to."""
        self._tags[values[0]] = values

    def put_flag(self, flag_id: int, own: Values, parts: Sequence[Sequence[Values]]) -> None:
        """Add a flag with all its rows at once, its parts in the order of `PARTS`; its tags must be there already."""
        if flag_id in self._open:
            for table, rows in zip(("flags", *PARTS), ((own,), *parts), strict=True):
                for values in rows:
                    self._put(table, values)
            return
        for segment in parts[_SEGMENTS]:
            self._segments[segment[0]] = flag_id
        links = parts[_LINKS]
        for link in links:
            self._tagged.setdefault(link[2], set()).add(flag_id)
        self._add_key(own[1], flag_id)
        tags = self._tags_of(links)
        self._store(flag_id, own, tags, pack(flag_id, own, tags, parts))

    def close_in_turns(self) -> Iterator[None]:
        """Pack what was put, one flag at each step."""
        while self._open:
            self._close(next(iter(self._open)))
            yield

    # -- changes -------------------------------------------------------------------------------------------------

    def touches(self, change: Change) -> list[int]:
        """The ids of the flags that this change may affect; call it before `apply`.

        A child of an unknown segment affects no flag: the change of the segment does.
        """
        if change.op is Op.TRUNCATE:
            # Sorted, as every instance must number the events alike, whatever the order of its rows.
            return sorted(self._having(change.table))
        rows = [text.row for text in (change.before, change.after) if text is not None]
        return list(dict.fromkeys(flag_id for row in rows for flag_id in self._flags_of(change.table, row)))

    def _having(self, table: str) -> set[int]:
        """The flags that have rows in a table."""
        if table == "tags":
            return {flag_id for tag_id in self._tags for flag_id in self._tagged.get(tag_id, ())}
        self._close_all()
        having = set()
        for flag_id, flag in self._flags.items():
            rows = flag.rows()
            if (rows.own is not None) if table == "flags" else rows.parts[table]:
                having.add(flag_id)
        return having

    def _flags_of(self, table: str, row: Row) -> Iterable[int]:
        match table:
            case "flags":
                return (row["id"],)
            case "segments" | "variants" | "flags_tags":
                return (row["flag_id"],)
            case "constraints" | "distributions":
                flag_id = self._segments.get(row["segment_id"])
                return () if flag_id is None else (flag_id,)
            case _:
                return sorted(self._tagged.get(row["id"], ()))

    def apply(self, change: Change) -> None:
        """Apply a change to the tables."""
        if change.op is Op.TRUNCATE:
            self._truncate(change.table)
        else:
            self._replace(change.table, _values(change.table, change.before), _values(change.table, change.after))

    def rewind(self, change: Change) -> None:
        """Undo a change.

        A truncate restores nothing: the change log holds its rows as deletes before it.
        """
        if change.op is not Op.TRUNCATE:
            self._replace(change.table, _values(change.table, change.after), _values(change.table, change.before))

    def _replace(self, table: str, old: Values | None, new: Values | None) -> None:
        moved: Mapping[tuple[str, int], Values] = _NO_ROWS
        if old is not None:
            moved = self._remove(table, old)
        if new is not None:
            self._put(table, new)
        # Where a segment is gone, its rows wait for their own deletion, or for the segment.
        for (part, _), values in moved.items():
            self._put(part, values)

    def _put(self, table: str, values: Values) -> None:
        row_id, parent = values[0], values[1]
        match table:
            case "flags":
                rows = self._opened(row_id)
                if rows.own is not None:
                    self._remove_key(rows.own[1], row_id)
                rows.own = values
                self._add_key(values[1], row_id)
            case "segments":
                self._opened(parent).put(table, values)
                self._segments[row_id] = parent
                for (part, _), child in self._loose.pop(row_id, _NO_ROWS).items():
                    self._put(part, child)
            case "constraints" | "distributions":
                flag_id = self._segments.get(parent)
                if flag_id is None:
                    self._loose.setdefault(parent, {})[table, row_id] = values
                else:
                    self._opened(flag_id).put(table, values)
            case "tags":
                self._tags[row_id] = values
                self._open_tagged(row_id)
            case _:
                rows = self._opened(parent)
                rows.put(table, values)
                if table == "flags_tags":
                    self._tagged.setdefault(values[2], set()).add(parent)

    def _remove(self, table: str, values: Values) -> Mapping[tuple[str, int], Values]:
        """Remove a row; returns the rows of a segment, which it takes out with it."""
        row_id, parent = values[0], values[1]
        match table:
            case "flags":
                rows = self._opened(row_id)
                if rows.own is not None:
                    self._remove_key(rows.own[1], row_id)
                rows.own = None
            case "segments":
                rows = self._opened(parent)
                rows.remove(table, row_id)
                self._segments.pop(row_id, None)
                return _take_children(rows, row_id)
            case "constraints" | "distributions":
                flag_id = self._segments.get(parent)
                if flag_id is not None:
                    self._opened(flag_id).remove(table, row_id)
                elif parent in self._loose:
                    self._loose[parent].pop((table, row_id), None)
                    if not self._loose[parent]:
                        del self._loose[parent]
            case "tags":
                self._open_tagged(row_id)
                self._tags.pop(row_id, None)
            case _:
                rows = self._opened(parent)
                rows.remove(table, row_id)
                if table == "flags_tags":
                    self._untag(rows, values[2])
        return _NO_ROWS

    def _untag(self, rows: FlagRows, tag_id: int) -> None:
        if all(link[2] != tag_id for link in rows.parts["flags_tags"].values()):
            tagged = self._tagged.get(tag_id, set())
            tagged.discard(rows.flag_id)
            if not tagged:
                self._tagged.pop(tag_id, None)

    def _truncate(self, table: str) -> None:
        having = self._having(table)
        for flag_id in having:
            rows = self._opened(flag_id)
            if table == "flags":
                rows.own = None
            elif table == "segments":
                for segment_id in list(rows.parts[table]):
                    children = _take_children(rows, segment_id)
                    if children:
                        self._loose.setdefault(segment_id, {}).update(children)
            if table in rows.parts:
                rows.parts[table] = {}
        match table:
            case "flags":
                self._keys = {}
            case "segments":
                self._segments = {}
            case "constraints" | "distributions":
                loose = {
                    segment_id: {place: row for place, row in rows.items() if place[0] != table}
                    for segment_id, rows in self._loose.items()
                }
                self._loose = {segment_id: rows for segment_id, rows in loose.items() if rows}
            case "tags":
                self._tags = {}
            case "flags_tags":
                self._tagged = {}

    # -- open and closed -----------------------------------------------------------------------------------------

    def _opened(self, flag_id: int) -> FlagRows:
        rows = self._open.get(flag_id)
        if rows is None:
            flag = self._flags.get(flag_id)
            rows = self._open[flag_id] = FlagRows(flag_id) if flag is None else flag.rows()
        return rows

    def _open_tagged(self, tag_id: int) -> None:
        for flag_id in self._tagged.get(tag_id, ()):
            self._opened(flag_id)

    def _close_all(self) -> None:
        while self._open:
            self._close(next(iter(self._open)))

    def _close(self, flag_id: int) -> None:
        """Pack what was changed of a flag."""
        rows = self._open.pop(flag_id)
        self._drop(flag_id)
        if not rows.is_empty:
            links = rows.parts["flags_tags"].values()
            tags = self._tags_of(links)
            self._store(flag_id, rows.own, tags, rows.pack(tags))
        else:
            self._chunks.discard(flag_id)

    def _drop(self, flag_id: int) -> None:
        flag = self._flags.pop(flag_id, None)
        if flag is None or not flag.is_live:
            return
        if flag_id in self._unhashed:
            del self._unhashed[flag_id]
        else:
            self._crc_sum -= flag.known_crc
        self._rendered.pop(flag_id, None)

    def _tags_of(self, links: Iterable[Values]) -> list[tuple[int, str]]:
        """The id and value of the live tags of these links, by id."""
        found = [tag for link in links if (tag := self._tags.get(link[2])) is not None and tag[-1] is None]
        return sorted([(tag[0], tag[1]) for tag in found])

    def _store(self, flag_id: int, own: Values | None, tags: Sequence[tuple[int, str]], packed: bytes) -> None:
        if own is not None and own[-1] is None:
            scope = FlagScope(frozenset([value for _, value in tags]), own[_PROJECT], own[_ENVIRONMENT])
            if len(self._scopes) >= _RENDERED:
                self._scopes.clear()
            scope = self._scopes.setdefault(scope, scope)
            self._flags[flag_id] = StoredFlag(flag_id, own[1], scope, packed, is_live=True)
            self._unhashed[flag_id] = None
            self._chunks.put(flag_id)
        else:
            key = "" if own is None else own[1]
            self._flags[flag_id] = StoredFlag(flag_id, key, _NOWHERE, packed, is_live=False)
            self._chunks.discard(flag_id)

    def _add_key(self, key: str, flag_id: int) -> None:
        others = self._keys.get(key)
        self._keys[key] = flag_id if others is None else tuple(dict.fromkeys((*_ids(others), flag_id)))

    def _remove_key(self, key: str, flag_id: int) -> None:
        others = tuple(other for other in _ids(self._keys.get(key)) if other != flag_id)
        if not others:
            self._keys.pop(key, None)
        else:
            self._keys[key] = others[0] if len(others) == 1 else others

    def copy_in_turns(self) -> Generator[None, None, Self]:
        """An independent copy; flags are shared. In steps of a few milliseconds for a hundred thousand flags; between
        two of them they may be hashed, but not changed."""
        self._close_all()
        twin = type(self)()
        twin._flags = self._flags.copy()
        yield
        twin._chunks = self._chunks.copy()
        yield
        twin._keys = self._keys.copy()
        yield
        twin._segments = self._segments.copy()
        yield
        twin._loose = {segment_id: rows.copy() for segment_id, rows in self._loose.items()}
        twin._tags = self._tags.copy()
        twin._tagged = {tag_id: flags.copy() for tag_id, flags in self._tagged.items()}
        twin._scopes = self._scopes
        yield
        # Together, because what was hashed since is in one of both.
        twin._rendered = self._rendered.copy()
        twin._crc_sum = self._crc_sum
        twin._unhashed = self._unhashed.copy()
        return twin

    def release_in_turns(self) -> Iterator[None]:
        """Let go of everything that a copy does not share, in steps of a few milliseconds for a hundred thousand
        flags; what is being hashed in turns comes to its end."""
        self._unhashed.clear()
        for index in (self._keys, self._segments, self._tagged, self._rendered, self._flags):
            index.clear()
            yield


def _take_children(rows: FlagRows, segment_id: int) -> dict[tuple[str, int], Values]:
    """Take the rows of a segment out of its flag."""
    taken: dict[tuple[str, int], Values] = {}
    for part in ("constraints", "distributions"):
        for values in [each for each in rows.parts[part].values() if each[1] == segment_id]:
            taken[part, values[0]] = values
            rows.remove(part, values[0])
    return taken


def _ids(found: int | tuple[int, ...] | None) -> tuple[int, ...]:
    return () if found is None else (found,) if isinstance(found, int) else found


def _values(table: str, text: RowText | None) -> Values | None:
    return None if text is None else as_values(table, text.row)
