"""The state of a live copy of flags, without I/O, clock or randomness.

Messages of the stream (in the WebSocket's form) and signals go in with a time; out comes an :class:`Outcome`: what
changed, and what the shell must do next. The core never raises on what a server sends: a malformed message is an
``error`` of the outcome and changes nothing.

Who calls what: ``connected`` of the stream is a message (``connected`` or ``subscribed``) given with *resumed*, saying
whether this connection resumed by id. ``caught_up`` is no message of the server: a shell that knows that a replay has
ended may say so instead of waiting for a heartbeat. If ``request_snapshot`` is set, the shell must bring a snapshot of
the store's selection, by whatever way; the core remembers that it waits and does not ask twice.

Longer than other files, because state, cursor, healing and status decide about each other in every message.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any, NamedTuple

from ._digest import canonical_json, checksum, format_digest, is_digest
from ._event_id import is_other_log, is_seen, parse_event_id
from ._liveness import Liveness
from .errors import ProtocolError
from .flags import Flag

__all__ = ["ChangeKind", "CoreChange", "Entry", "Outcome", "Status", "StoreCore"]

PENDING_LIMIT = 10_000
"""Events kept while a snapshot is awaited; beyond it the oldest go, and the digest finds what that broke."""

LONGEST_HEALING_PAUSE = 64


class Status(str, Enum):
    """What a store knows about itself."""

    INITIALIZING = "INITIALIZING"
    READY = "READY"
    STALE = "STALE"
    ERROR = "ERROR"
    CLOSED = "CLOSED"


class ChangeKind(str, Enum):
    """How a flag changed."""

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"


class Identity(NamedTuple):
    """A flag is known by its id within its schema; the schema is empty while the server has one only."""

    schema: str
    id: int


@dataclass(frozen=True)
class Entry:
    """A stored flag: its JSON, its canonical text and that text's checksum."""

    schema: str
    raw: Mapping[str, Any]
    canonical: str
    checksum: int

    @property
    def key(self) -> str:
        key: str = self.raw["key"]
        return key

    @cached_property
    def flag(self) -> Flag:
        """The flag, typed; built when it is first asked for."""
        return Flag.from_json(self.raw, self.schema or None)


@dataclass(frozen=True)
class CoreChange:
    """The difference that one message made to one key."""

    kind: ChangeKind
    key: str
    schema: str
    before: Entry | None
    after: Entry | None


@dataclass
class Outcome:
    """What a step did, and what the shell must do."""

    changes: list[CoreChange] = field(default_factory=list)
    request_snapshot: bool = False
    error: ProtocolError | None = None


class StoreCore:
    """The machine. An empty selection selects everything."""

    def __init__(self, flags: Iterable[str] = (), flag_ids: Iterable[int] = (), tags: Iterable[str] = ()) -> None:
        self.flag_keys = frozenset(flags)
        self.flag_ids = frozenset(flag_ids)
        self.tags = frozenset(tags)
        self.status = Status.INITIALIZING
        self.cursor: str | None = None
        self.entries: dict[Identity, Entry] = {}
        self.by_key: dict[str, dict[str, Entry]] = {}
        self._liveness = Liveness()
        self._sum = 0
        self._awaits_snapshot = True
        self._pending: list[Mapping[str, Any]] = []
        self._has_several_schemas = False
        self._only_schema: str | None = None
        self._is_connected = False
        self._is_fresh = False
        self._is_silent = False
        self._head: int | None = None
        self._failed_heals = 0
        self._heal_pause = 0
        self._is_doubtful = False
        self._healed_once = False

    # ---------------------------------------------------------------- state

    @property
    def selects_everything(self) -> bool:
        return not (self.flag_keys or self.flag_ids or self.tags)

    @property
    def awaits_snapshot(self) -> bool:
        """Whether the state waits to be replaced: a connection that cannot resume must bring a snapshot."""
        return self._awaits_snapshot

    @property
    def digest(self) -> str:
        """The digest of the flags held, kept up to date flag by flag."""
        return format_digest(len(self.entries), self._sum)

    def selects(self, flag: Mapping[str, Any]) -> bool:
        """Whether a flag belongs into this store."""
        if self.selects_everything or flag.get("key") in self.flag_keys or flag.get("id") in self.flag_ids:
            return True
        tags = flag.get("tags")
        return isinstance(tags, list) and any(isinstance(tag, dict) and tag.get("value") in self.tags for tag in tags)

    def schemas_of(self, key: str) -> dict[str, Entry]:
        """The flags of a key by schema; by the empty name while the server has one schema only."""
        return self.by_key.get(key, {})

    def names(self, schema: str) -> str:
        """Under which name this store keeps a schema: without several of them, under the empty one."""
        return schema if self._has_several_schemas or self._only_schema not in (None, schema) else ""

    # -------------------------------------------------------------- signals

    def tick(self, now: float) -> None:
        """Time has passed; idempotent."""
        if self._liveness.is_silent(now):
            self._is_silent = True
            self._settle()

    def lost(self) -> None:
        """The connection is gone; another will be tried."""
        self._is_connected = False
        self._settle()

    def failed(self) -> None:
        """The client gave up for good."""
        if self.status is not Status.CLOSED:
            self.status = Status.ERROR

    def close(self) -> None:
        """Final: every later message and signal is ignored."""
        self.status = Status.CLOSED

    def request_refused(self) -> None:
        """The snapshot that was asked for beside the stream could not be had; the next digest may ask again."""
        if self.status is Status.STALE and self._is_connected:
            self._awaits_snapshot = False
            self._settle()

    # ------------------------------------------------------------- messages

    def receive(self, message: Mapping[str, Any], now: float, resumed: bool = False) -> Outcome:
        """Fold one message of the stream."""
        outcome = Outcome()
        if self.status in (Status.CLOSED, Status.ERROR):
            return outcome
        self._liveness.message(now)
        before: dict[tuple[str, str], Entry | None] = {}
        try:
            self._fold(message, now, resumed, before, outcome)
        except ProtocolError as error:
            outcome.error = error
        outcome.changes = self._difference(before)
        self._settle()
        return outcome

    def _fold(
        self,
        message: Mapping[str, Any],
        now: float,
        resumed: bool,
        before: dict[tuple[str, str], Entry | None],
        outcome: Outcome,
    ) -> None:
        kind = message.get("type")
        if not isinstance(kind, str):
            raise ProtocolError("a message has no type")
        if kind in ("connected", "subscribed"):
            self._greet(message, now, resumed)
        elif kind == "caught_up":
            self._head = None
        elif kind == "heartbeat":
            self._heartbeat(message, now, outcome)
        elif kind == "snapshot":
            self._replace(message, message, before, outcome)
        elif kind == "resync":
            snapshot = message.get("snapshot")
            if not isinstance(snapshot, dict):
                raise ProtocolError("a resync carries no snapshot")
            self._pending.clear()
            self._replace(snapshot, message, before, outcome)
        elif kind == "batch":
            events = message.get("events")
            if not isinstance(events, list):
                raise ProtocolError("a batch carries no events")
            problem: ProtocolError | None = None
            for event in events:
                try:
                    self._event(event, before, outcome)
                except ProtocolError as error:
                    problem = error
            if problem is not None:
                raise problem
        else:
            self._event(message, before, outcome)

    def _greet(self, message: Mapping[str, Any], now: float, resumed: bool) -> None:
        self._liveness.connected(now)
        self._liveness.announced(message.get("heartbeatMs"))
        self._is_connected = True
        self._is_silent = False
        self._is_fresh = message.get("fresh") is not False
        self._head = _position(message)
        if not resumed:
            self._awaits_snapshot = True
            self._pending.clear()

    def _heartbeat(self, message: Mapping[str, Any], now: float, outcome: Outcome) -> None:
        self._liveness.heartbeat(now)
        self._is_silent = False
        fresh = message.get("fresh")
        if isinstance(fresh, bool):
            self._is_fresh = fresh
        if self._awaits_snapshot:
            return
        position = _position(message)
        if fresh is True:
            self._head = None
        digest = message.get("digest")
        if self.selects_everything and is_digest(digest) and position is not None and self._has_reached(position):
            self._check(digest, outcome)
        event_id = message.get("id")
        if isinstance(event_id, str) and not is_seen(event_id, self.cursor) and not is_other_log(event_id, self.cursor):
            self.cursor = event_id

    def _has_reached(self, position: int) -> bool:
        """Whether the state is the one of *position*: everything before a heartbeat has arrived, nothing after it."""
        mine = None if self.cursor is None else parse_event_id(self.cursor)
        return mine is not None and mine.position <= position

    def _check(self, digest: object, outcome: Outcome) -> None:
        if digest == self.digest:
            self._is_doubtful = False
            self._healed_once = False
            self._failed_heals = self._heal_pause = 0
            return
        self._is_doubtful = True
        if self._healed_once:
            # The last snapshot did not help: leave more and more heartbeats between attempts.
            self._healed_once = False
            self._heal_pause = min(2**self._failed_heals, LONGEST_HEALING_PAUSE)
            self._failed_heals += 1
        if self._heal_pause > 0:
            self._heal_pause -= 1
            return
        self._healed_once = True
        self._request(outcome)

    def _request(self, outcome: Outcome) -> None:
        self._awaits_snapshot = True
        self._pending.clear()
        outcome.request_snapshot = True

    def _replace(
        self,
        snapshot: Mapping[str, Any],
        message: Mapping[str, Any],
        before: dict[tuple[str, str], Entry | None],
        outcome: Outcome,
    ) -> None:
        flags, event_id = snapshot.get("flags"), message.get("id")
        if not isinstance(flags, list) or not all(_is_flag(flag) for flag in flags):
            raise ProtocolError("a snapshot carries no list of flags")
        if not isinstance(event_id, str):
            raise ProtocolError("a snapshot carries no id")
        self._has_several_schemas = any(isinstance(flag.get("schema"), str) for flag in flags)
        self._only_schema = None
        old = dict(self.entries)
        before.update({(entry.schema, entry.key): entry for entry in old.values()})
        kept: set[Identity] = set()
        for flag in flags:
            if self.selects(flag):
                kept.add(self._put(flag, flag.get("schema"), before))
        for identity in old:
            if identity not in kept and identity in self.entries:
                self._remove(identity, before)
        self.cursor = event_id
        self._head = None
        self._awaits_snapshot = False
        if self._failed_heals == 0:
            self._is_doubtful = False
        pending, self._pending = self._pending, []
        for event in pending:
            if not is_other_log(event["id"], self.cursor):
                self._event(event, before, outcome)

    def _event(self, message: object, before: dict[tuple[str, str], Entry | None], outcome: Outcome) -> None:
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            raise ProtocolError("an event is not an object with a type")
        flag = message.get("flag")
        if flag is not None and not _is_flag(flag):
            raise ProtocolError("the flag of an event is not a flag")
        event_id = message.get("id")
        if not isinstance(event_id, str):
            if message["type"] == "flag_deleted" or flag is not None:
                raise ProtocolError("an event carries no id")
            return
        if self._awaits_snapshot:
            self._pending.append(message)
            del self._pending[:-PENDING_LIMIT]
            if self.cursor is None:
                return
        if is_seen(event_id, self.cursor):
            return
        if is_other_log(event_id, self.cursor):
            self._ask_again(message, outcome)
            return
        schema = message.get("schema")
        self.cursor = event_id
        if isinstance(schema, str) and not self._has_several_schemas and (flag is not None or _deletes(message)):
            if self._only_schema is None:
                self._only_schema = schema
            elif self._only_schema != schema:
                self._ask_again(message, outcome)
                return
        self._apply(message, flag, before)

    def _ask_again(self, message: Mapping[str, Any], outcome: Outcome) -> None:
        """The event cannot be placed: keep it, and get a state in which it can."""
        self._is_doubtful = True
        if not self._awaits_snapshot:
            self._request(outcome)
            self._pending.append(message)

    def _apply(
        self,
        message: Mapping[str, Any],
        flag: Mapping[str, Any] | None,
        before: dict[tuple[str, str], Entry | None],
    ) -> None:
        schema = message.get("schema")
        if flag is not None:
            if self.selects(flag):
                self._put(flag, schema, before)
            else:
                identity = Identity(self._schema(schema), flag["id"])
                if identity in self.entries:
                    self._remove(identity, before)
        elif _deletes(message):
            stored = self.by_key.get(message["flagKey"], {}).get(self._schema(schema))
            flag_id = message.get("flagID")
            if stored is not None and (not isinstance(flag_id, int) or stored.raw["id"] == flag_id):
                self._remove(Identity(stored.schema, stored.raw["id"]), before)

    # -------------------------------------------------------------- entries

    def _schema(self, schema: object) -> str:
        return schema if self._has_several_schemas and isinstance(schema, str) else ""

    def _put(self, flag: Mapping[str, Any], schema: object, before: dict[tuple[str, str], Entry | None]) -> Identity:
        name = self._schema(schema)
        identity = Identity(name, flag["id"])
        canonical = canonical_json(flag)
        entry = Entry(name, flag, canonical, checksum(canonical))
        old = self.entries.get(identity)
        if old is not None and old.key != entry.key:
            self._remove(identity, before)
            old = None
        rival = self.by_key.get(entry.key, {}).get(name)
        if rival is not None and rival is not old:
            self._remove(Identity(name, rival.raw["id"]), before)
        before.setdefault((name, entry.key), old)
        self._sum += entry.checksum - (0 if old is None else old.checksum)
        self.entries[identity] = entry
        self.by_key[entry.key] = self.by_key.get(entry.key, {}) | {name: entry}
        return identity

    def _remove(self, identity: Identity, before: dict[tuple[str, str], Entry | None]) -> None:
        entry = self.entries.pop(identity)
        before.setdefault((identity.schema, entry.key), entry)
        self._sum -= entry.checksum
        # Replaced, not changed: readers in other threads may hold the inner dict.
        rest = {name: other for name, other in self.by_key[entry.key].items() if name != identity.schema}
        if rest:
            self.by_key[entry.key] = rest
        else:
            del self.by_key[entry.key]

    def _difference(self, before: Mapping[tuple[str, str], Entry | None]) -> list[CoreChange]:
        changes: list[CoreChange] = []
        for (schema, key), old in before.items():
            new = self.by_key.get(key, {}).get(schema)
            if old is None and new is not None:
                changes.append(CoreChange(ChangeKind.CREATED, key, schema, None, new))
            elif old is not None and new is None:
                changes.append(CoreChange(ChangeKind.DELETED, key, schema, old, None))
            elif old is not None and new is not None and old.canonical != new.canonical:
                changes.append(CoreChange(ChangeKind.UPDATED, key, schema, old, new))
        return changes

    # --------------------------------------------------------------- status

    def _settle(self) -> None:
        if self.status in (Status.CLOSED, Status.ERROR) or (
            self.status is Status.INITIALIZING and self._awaits_snapshot
        ):
            return
        if self._head is not None and self.cursor is not None:
            mine = parse_event_id(self.cursor)
            if mine is not None and mine.position >= self._head:
                self._head = None
        proven = (
            self._is_connected
            and self._is_fresh
            and not self._is_silent
            and not self._awaits_snapshot
            and not self._is_doubtful
            and self._head is None
        )
        self.status = Status.READY if proven else Status.STALE


def _is_flag(value: object) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("key"), str)
        and isinstance(value.get("id"), int)
        and not isinstance(value.get("id"), bool)
    )


def _deletes(message: Mapping[str, Any]) -> bool:
    return message.get("type") == "flag_deleted" and isinstance(message.get("flagKey"), str)


def _position(message: Mapping[str, Any]) -> int | None:
    value = message.get("position")
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
