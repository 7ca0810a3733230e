"""A replica of Flagent's tables that turns commits into typed events.

Call contract: `load` each schema at one position, then `apply` every later commit in order. Commits at or below
`position` are ignored, so a source may repeat them. `rewind` undoes commits, newest first, as far back as the change
log reaches; for time travel, rewind a `copy()` and apply again.

Events depend only on the state and the commit: every instance numbers them alike, also after a restart.
"""

from collections import Counter
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Self

from ..log.change import Change, Commit, Op
from ..log.position import CommitHash, EventId, LogId, Position
from ..log.row_text import Row
from ..steps import release_in_turns, run_steps
from .events import Event, EventType, FlagScope
from .flag import FlagJson, tag_values
from .flag_bound import FlagBound
from .flag_chunks import FlagChunk
from .flag_events import EventDraft, flag_events
from .flag_tables import TABLES, FlagTables
from .row_event import row_event
from .stored_flag import StoredFlag

__all__ = ["Catalog"]

_BEGINNING = Position(0)

# Rows loaded, or changes applied, in one step.
_TURN_ROWS = 200
_TURN_CHANGES = 100

_FlagId = tuple[str, int]
"""Schema and id identify a flag: ids repeat between schemas, keys move between flags."""


class Catalog:
    """The flags of all attached schemas as of `position`.

    `attached` is filled by `rewind`: schemas whose state is unknown here, as they were attached later, with the commit
    that attached each. `bound` is that of the flags as subscribers get them, which the digest is of.
    """

    __slots__ = ("_bound", "_hashed", "_schemas", "_within", "attached", "log", "position")

    def __init__(
        self,
        log: LogId,
        position: Position = _BEGINNING,
        hash: CommitHash | None = None,
        *,
        bound: FlagBound | None = None,
    ) -> None:
        self.log = log
        self.position = position
        self.attached: dict[str, Commit] = {}
        self._bound = FlagBound() if bound is None else bound
        self._within: tuple[Position, int] | None = None  # the commit applied in part, and its next change
        self._hashed = position, hash  # the commit whose hash is known: the last one applied, or loaded
        self._schemas: dict[str, FlagTables] = {}

    @property
    def bound(self) -> FlagBound:
        return self._bound

    @bound.setter
    def bound(self, bound: FlagBound) -> None:
        if bound != self._bound:
            self._bound = bound
            for tables in self._schemas.values():
                tables.forget_encodings()

    @property
    def here(self) -> EventId:
        """The event id of the present state, which may lie within a commit."""
        position, index = (self.position, None) if self._within is None else (self._within[0], self._within[1] - 1)
        hashed, hash = self._hashed
        return EventId(position, index, self.log, hash if hashed == position else None)

    @property
    def schemas(self) -> tuple[str, ...]:
        """The attached schemas in alphabetical order, including those in `attached`."""
        return tuple(sorted({*self._schemas, *self.attached}))

    def has_schema(self, schema: str) -> bool:
        """Whether a schema is among `schemas`."""
        return schema in self._schemas or schema in self.attached

    def attach(self, schema: str) -> None:
        """Treat the seven tables of a schema as Flagent's from the next commit on; idempotent."""
        self._schemas.setdefault(schema, FlagTables())

    def load(self, schema: str, tables: Mapping[str, Iterable[Row]], position: Position) -> None:
        """Replace the rows of a schema by these, as of a position; tables left out are empty."""
        for _ in self.load_in_turns(schema, tables, position):
            pass

    def load_in_turns(self, schema: str, tables: Mapping[str, Iterable[Row]], position: Position) -> Iterator[None]:
        """The same in steps of about a millisecond, for a catalog that nothing reads yet."""
        loaded, count = FlagTables(), 0
        for table, rows in tables.items():
            for row in rows:
                loaded.put(table, row)
                count += 1
                if count % _TURN_ROWS == 0:
                    yield
        for _ in loaded.close_in_turns():
            count += 1
            if count % _TURN_ROWS == 0:
                yield
        self.load_tables(schema, loaded, position)

    def load_from(self, other: Self) -> None:
        """Take the schemas of another catalog of the same position, which must not be used afterwards."""
        self._schemas |= other._schemas

    def load_tables(self, schema: str, tables: FlagTables, position: Position) -> None:
        """Replace the tables of a schema by these, as of a position."""
        self._schemas[schema] = tables
        self.position = position

    def apply(self, commit: Commit) -> list[Event]:
        """Apply the next commit, or the next part of one, and return its events; none for a commit applied before.

        `position` advances at the end of a commit.

        Deletions of flags come first, so a client that indexes flags by key keeps a flag whose key another flag had
        before in the same commit. All other events follow in the order in which the commit first touched each flag
        or row.
        """
        return run_steps(self.apply_in_turns(commit))

    def apply_in_turns(self, commit: Commit) -> Generator[None, None, list[Event]]:
        """The same in steps of a few milliseconds; between two of them half of the commit is applied."""
        if commit.position <= self.position or commit.begin != (0 if self._within is None else self._within[1]):
            return []
        touched: dict[_FlagId, FlagJson | None] = {}
        order: list[Change | _FlagId] = []
        for count, change in enumerate(commit.changes, 1):
            if count % _TURN_CHANGES == 0:
                yield
            tables = self._tables_of(change)
            if tables is None:
                order.append(change)
                continue
            for flag_id in tables.touches(change):
                touch = (change.schema, flag_id)
                if touch not in touched:
                    touched[touch] = tables.flag(flag_id)
                    order.append(touch)
            tables.apply(change)
            if len(commit.changes) > _TURN_CHANGES:
                for text in (change.before, change.after):
                    if text is not None:
                        text.forget()
        self._hashed = commit.position, commit.hash
        if commit.ends:
            self.position, self._within = commit.position, None
        else:
            self._within = commit.position, commit.begin + len(commit.changes)
        return (yield from self._events(commit, order, touched))

    def rewind(self, commit: Commit) -> Collection[str]:
        """Undo the newest applied commit; a commit that was not applied is ignored.

        Returns the schemas that the commit attached, whose state is unknown before it: the change log does not hold
        what they contained.
        """
        if commit.position > self.position:
            return ()
        begun = [schema for schema in _attached_by(commit) if schema in self._schemas]
        for schema in begun:
            del self._schemas[schema]
            self.attached[schema] = replace(commit, changes=())
        for change in reversed(commit.changes):
            tables = self._tables_of(change)
            if tables is not None:
                tables.rewind(change)
        self.position = Position(commit.position - 1)
        return begun

    def flags(self, schema: str | None = None) -> Iterator[tuple[str, FlagJson]]:
        """The live flags of one schema or of all, each with its schema, ordered by schema and id."""
        for name, chunk in self.chunks(schema):
            for flag in chunk.flags:
                yield name, flag.render()

    def chunks(self, schema: str | None = None) -> list[tuple[str, FlagChunk]]:
        """The same in chunks, as they are now: neither the list nor what is in it changes any more."""
        found: list[tuple[str, FlagChunk]] = []
        for name in self.schemas if schema is None else (schema,):
            tables = self._schemas.get(name)
            if tables is not None:
                found += [(name, chunk) for chunk in tables.chunks()]
        return found

    def stored(self, schema: str, flag_id: int) -> StoredFlag | None:
        """A live flag, None if it does not exist. The same object until the flag changes."""
        tables = self._schemas.get(schema)
        return None if tables is None else tables.stored(flag_id)

    def stored_by_key(self, schema: str, key: str) -> StoredFlag | None:
        """The live flag with this key."""
        tables = self._schemas.get(schema)
        return None if tables is None else tables.stored_by_key(key)

    def stored_by_tag(self, schema: str, tag: str) -> list[StoredFlag]:
        """The live flags with this tag, by id."""
        tables = self._schemas.get(schema)
        return [] if tables is None else tables.stored_by_tag(tag)

    def flag_json(self, schema: str, flag_id: int) -> FlagJson | None:
        """A live flag in the REST shape, None if it does not exist; read-only."""
        tables = self._schemas.get(schema)
        return None if tables is None else tables.flag(flag_id)

    def find(self, schema: str, key: str) -> FlagJson | None:
        """The live flag with this key."""
        tables = self._schemas.get(schema)
        return None if tables is None else tables.flag_by_key(key)

    def attachments(self, schema: str, flag_id: int) -> Mapping[int, Mapping[str, str] | None]:
        """A flag's attachments for evaluation, by variant id: with the quotes that the REST view strips."""
        tables = self._schemas.get(schema)
        return {} if tables is None else tables.attachments(flag_id)

    def evaluation_view(self, schema: str, flag_id: int) -> FlagJson | None:
        """The flag with the attachments for evaluation, None if it does not exist."""
        flag = self.stored(schema, flag_id)
        return None if flag is None else flag.render_for_evaluation()

    @property
    def digest(self) -> str:
        """`<count>:<hex8>`: `flag_count` and the sum modulo 2^32 of the `FlagBound.crc` of every live flag.

        The cost is that of the flags that changed since the last call, see `unhashed`.
        """
        total = sum(tables.crc_sum(self._bound) for tables in self._schemas.values())
        return f"{self.flag_count}:{total & 0xFFFFFFFF:08x}"

    @property
    def unhashed(self) -> int:
        """How many flags the next `digest` has to encode."""
        return sum(tables.unhashed for tables in self._schemas.values())

    def hash_in_turns(self) -> Iterator[None]:
        """Encode and hash all flags that were not, one at each step; the catalog may change between two steps."""
        for tables in list(self._schemas.values()):
            yield from tables.hash_in_turns(self._bound)

    @property
    def flag_count(self) -> int:
        """The number of live flags in all schemas."""
        return sum(tables.live_count for tables in self._schemas.values())

    def copy(self) -> Self:
        """An independent copy; unchanged parts are shared."""
        return run_steps(self.copy_in_turns())

    def copy_in_turns(self) -> Generator[None, None, Self]:
        """The same in steps, between which the catalog must not change."""
        twin = type(self)(self.log, self.position, bound=self._bound)
        twin._hashed = self._hashed
        twin.attached = self.attached.copy()
        for name, tables in self._schemas.items():
            twin._schemas[name] = yield from tables.copy_in_turns()
        return twin

    def adopt(self, other: Self) -> None:
        """Become what another catalog is, which may only be released afterwards."""
        self.log, self.position, self.attached = other.log, other.position, other.attached
        self._hashed, self._within = other._hashed, other._within
        self._schemas, other._schemas = other._schemas, self._schemas

    def release_in_turns(self) -> Iterator[None]:
        """Let go of everything, in steps; the catalog must not be used afterwards."""
        for tables in self._schemas.values():
            yield from tables.release_in_turns()

    def _tables_of(self, change: Change) -> FlagTables | None:
        """The tables of a change; None for a watched table, even one named `tags` in a schema not attached."""
        return self._schemas.get(change.schema) if change.table in TABLES and change.op is not Op.SCHEMA else None

    def _events(
        self, commit: Commit, order: list[Change | _FlagId], touched: dict[_FlagId, FlagJson | None]
    ) -> Generator[None, None, list[Event]]:
        deletions: list[tuple[str, frozenset[str], FlagScope | None, EventDraft]] = []
        others: list[tuple[str, frozenset[str], FlagScope | None, EventDraft] | Change] = []
        for count, item in enumerate(order, 1):
            if count % _TURN_CHANGES == 0:
                yield
            if isinstance(item, Change):
                others.append(item)
                continue
            schema, flag_id = item
            before, after = touched.pop(item), self.flag_json(schema, flag_id)
            found = flag_events(before, after)
            if found:
                tags = tag_values(before) | tag_values(after)
                scope = _scope(before)
                for one in found:
                    place = deletions if one.type is EventType.FLAG_DELETED else others
                    place.append((schema, tags, scope, one))
        events: list[Event] = []
        hash = self._hashed[1]
        for index, entry in enumerate([*deletions, *others], commit.begin):
            if index % (_TURN_CHANGES * 8) == 0:
                yield
            event_id = EventId(commit.position, index, self.log, hash)
            if isinstance(entry, Change):
                events.append(row_event(event_id, commit, entry))
            else:
                schema, tags, scope, one = entry
                events.append(
                    Event(
                        event_id,
                        one.type,
                        schema,
                        commit.committed_at,
                        one.flag_key,
                        one.flag_id,
                        tags,
                        one.flag,
                        one.detail,
                        None if one.type is EventType.FLAG_CREATED else scope,
                    )
                )
        for drafts in (deletions, others):
            yield from release_in_turns(drafts)
        return events


def _scope(flag: FlagJson | None) -> FlagScope | None:
    return None if flag is None else FlagScope(tag_values(flag), flag["projectId"], flag["environmentId"])


def _attached_by(commit: Commit) -> list[str]:
    """The schemas that a commit attached: it truncates all their tables without logging rows before."""
    if all(change.op is not Op.TRUNCATE for change in commit.changes):
        return []
    logged: set[tuple[str, str]] = set()
    emptied: Counter[str] = Counter()
    for change in commit.changes:
        place = (change.schema, change.table)
        if change.table in TABLES and place not in logged:
            emptied[change.schema] += change.op is Op.TRUNCATE
            logged.add(place)
    return [schema for schema, tables in emptied.items() if tables == len(TABLES)]
