"""The flags of a store by identity and by key, with their running digest. Pure.

Other threads may read the table while it is written: each write replaces a whole entry, and the flags of one key are
replaced as one dict, so that a reader never sees half a flag.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any, NamedTuple

from ._digest import canonical_flag, checksum, format_digest
from .flags import Flag

__all__ = ["ChangeKind", "EntryChange", "FlagEntry", "FlagIdentity", "FlagTable", "UnreadFlag"]


class ChangeKind(str, Enum):
    """How a flag changed."""

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"


class FlagIdentity(NamedTuple):
    """A flag's id within its schema; the schema is empty while the server has one schema only."""

    schema: str
    id: int


class UnreadFlag(NamedTuple):
    """A flag as it is saved: its JSON need not be read to know the rest."""

    key: str
    id: int
    checksum: int
    text: str


class FlagEntry:
    """A stored flag: its JSON, and from that its canonical text and the CRC-32 of it."""

    def __init__(self, schema: str, raw: Mapping[str, Any]) -> None:
        self.schema = schema
        self.key: str = raw["key"]
        self.identity = FlagIdentity(schema, raw["id"])
        self.raw = raw

    @classmethod
    def of_unread(cls, unread: UnreadFlag) -> FlagEntry:
        """An entry whose JSON is read when it is first needed."""
        entry = cls.__new__(cls)
        entry.schema, entry.key, entry._text = "", unread.key, unread.text
        entry.identity = FlagIdentity("", unread.id)
        entry.checksum = unread.checksum
        return entry

    _text: str

    @cached_property
    def raw(self) -> Mapping[str, Any]:
        """The flag's JSON object, as received."""
        raw: Mapping[str, Any] = json.loads(self._text)
        return raw

    def unread(self) -> UnreadFlag:
        """The flag as it is saved."""
        text = self._text if "raw" not in self.__dict__ else json.dumps(self.raw, separators=(",", ":"))
        return UnreadFlag(self.key, self.identity.id, self.checksum, text)

    @cached_property
    def canonical(self) -> str:
        """The text by which flags are compared."""
        return canonical_flag(self.raw)

    @cached_property
    def checksum(self) -> int:
        """The flag's part of the digest."""
        return checksum(self.canonical)

    @cached_property
    def flag(self) -> Flag:
        """The typed flag, decoded on first access."""
        return Flag.from_json(self.raw, self.schema or None)


@dataclass(frozen=True)
class EntryChange:
    """The difference that one message made to one key; ``before`` is ``None`` if created, ``after`` if deleted."""

    kind: ChangeKind
    key: str
    schema: str
    before: FlagEntry | None
    after: FlagEntry | None


class FlagTable:
    """Flags, unique by identity and, within a schema, by key. Writes are recorded until :meth:`take_changes`."""

    def __init__(self) -> None:
        self.entries: dict[FlagIdentity, FlagEntry] = {}
        self.has_several_schemas = False
        self.only_schema: str | None = None
        """The schema that events named, while the flags themselves carry none."""
        self._by_key: dict[str, dict[str, FlagEntry]] = {}
        self._checksums: int | None = 0
        """``None`` until the digest of restored flags is needed."""
        self._before: dict[tuple[str, str], FlagEntry | None] = {}

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, key: object) -> bool:
        return key in self._by_key

    def __iter__(self) -> Iterator[FlagEntry]:
        # A copy, made in one step: another thread may be writing.
        return iter(list(self.entries.values()))

    @property
    def digest(self) -> str:
        """``<count>:<hex8>`` of the flags held, maintained with each write."""
        if self._checksums is None:
            self._checksums = sum(entry.checksum for entry in self)
        return format_digest(len(self.entries), self._checksums)

    def of_key(self, key: str) -> Mapping[str, FlagEntry]:
        """The flags of a key by schema; the schema is the empty text while the server has one only."""
        return self._by_key.get(key, {})

    def stored_schema(self, schema: object) -> str:
        """The schema name under which a message's flag is stored."""
        return schema if self.has_several_schemas and isinstance(schema, str) else ""

    def lookup_schema(self, schema: str) -> str:
        """The schema name under which a caller's *schema* is found."""
        return schema if self.has_several_schemas or self.only_schema not in (None, schema) else ""

    # ---------------------------------------------------------------- writing

    def begin_replacement(self, has_several_schemas: bool) -> None:
        """Call before a snapshot is written: its changes come in the order of the old flags, then of the new."""
        self.has_several_schemas = has_several_schemas
        self.only_schema = None
        self._before.update({(entry.schema, entry.key): entry for entry in self.entries.values()})

    def restore(self, flags: Iterable[Mapping[str, Any]]) -> None:
        """Fill an empty table, without changes to take. Of flags with one identity or key, the last one counts."""
        for flag in flags:
            self.put(flag, flag.get("schema"))
            self._before.clear()
            self._checksums = None

    def restore_unread(self, flags: Iterable[UnreadFlag]) -> None:
        """Fill an empty table with flags of one schema that are known to be whole and unique, without reading them."""
        for flag in flags:
            entry = FlagEntry.of_unread(flag)
            self.entries[entry.identity] = entry
            self._by_key[entry.key] = {"": entry}
        self._checksums = sum(entry.checksum for entry in self.entries.values())

    def put(self, flag: Mapping[str, Any], schema: object) -> FlagIdentity:
        """Store a flag. A flag with the same identity is replaced, another flag with the same key is removed."""
        name = self.stored_schema(schema)
        entry = FlagEntry(name, flag)
        identity = entry.identity
        old = self.entries.get(identity)
        if old is not None and old.key != entry.key:
            self.remove(identity)
            old = None
        rival = self.of_key(entry.key).get(name)
        if rival is not None and rival is not old:
            self.remove(rival.identity)
        self._before.setdefault((name, entry.key), old)
        if self._checksums is not None:
            self._checksums += entry.checksum - (0 if old is None else old.checksum)
        self.entries[identity] = entry
        self._by_key[entry.key] = {**self.of_key(entry.key), name: entry}
        return identity

    def remove(self, identity: FlagIdentity) -> None:
        """Remove a flag; does nothing when it is not stored."""
        entry = self.entries.pop(identity, None)
        if entry is None:
            return
        self._before.setdefault((entry.schema, entry.key), entry)
        if self._checksums is not None:
            self._checksums -= entry.checksum
        rest = {name: other for name, other in self._by_key[entry.key].items() if name != entry.schema}
        if rest:
            self._by_key[entry.key] = rest
        else:
            del self._by_key[entry.key]

    def remove_key(self, key: str, schema: object, flag_id: object) -> None:
        """Remove the flag of a key, unless *flag_id* is given and belongs to another flag."""
        entry = self.of_key(key).get(self.stored_schema(schema))
        if entry is not None and (not isinstance(flag_id, int) or entry.identity.id == flag_id):
            self.remove(entry.identity)

    def take_changes(self) -> list[EntryChange]:
        """The differences since the last call, one per key, by canonical text: bookkeeping fields do not count."""
        before, self._before = self._before, {}
        changes: list[EntryChange] = []
        for (schema, key), old in before.items():
            new = self.of_key(key).get(schema)
            if old is None and new is not None:
                changes.append(EntryChange(ChangeKind.CREATED, key, schema, None, new))
            elif old is not None and new is None:
                changes.append(EntryChange(ChangeKind.DELETED, key, schema, old, None))
            elif old is not None and new is not None and old.canonical != new.canonical:
                changes.append(EntryChange(ChangeKind.UPDATED, key, schema, old, new))
        return changes
