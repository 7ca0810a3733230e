"""The state machine of a live copy of flags, without I/O, clock or randomness.

Input is the messages of the stream, in the WebSocket's form, and signals, each with a time in seconds of one monotonic
clock. Output is a :class:`StoreUpdate`: the changes, and what the shell must do next. Server input never raises: a
malformed message is the update's ``error`` and changes nothing.

Call contract: the shell calls ``receive`` for each message in order; the stream's ``connected`` or ``subscribed`` is a
message too, given with *resumed* (whether this connection resumed by id). The message ``caught_up`` is not on the
wire: a shell that knows that a replay has ended may send it instead of waiting for a heartbeat. After an update with
``requests_snapshot`` the shell must bring a snapshot of the store's selection; until then the core does not request
another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ._digest import is_digest
from ._digest_check import DigestCheck
from ._event_id import Cursor
from ._flag_table import EntryChange, FlagIdentity, FlagTable
from ._liveness import Liveness
from ._saved_flags import SavedFlags
from ._selection import EVERYTHING, Selection
from .errors import MalformedMessage

__all__ = ["StoreCore", "StoreSource", "StoreStatus", "StoreUpdate"]

MAX_PENDING_EVENTS = 10_000
"""Events kept while a snapshot is awaited. Then the oldest are dropped, and the next digest shows the difference."""


class StoreStatus(str, Enum):
    """How current the flags of a store are. They stay readable in every status."""

    INITIALIZING = "INITIALIZING"
    """No snapshot has arrived yet."""
    READY = "READY"
    """Connected, caught up, and the server confirms that it is fresh."""
    STALE = "STALE"
    """Connection, freshness or digest cannot be confirmed: the flags may be out of date."""
    ERROR = "ERROR"
    """The client failed for good: the flags are no longer updated."""
    CLOSED = "CLOSED"
    """The store or its client was closed."""


class StoreSource(str, Enum):
    """Where the flags of a store come from."""

    CACHE = "cache"
    """They were saved by an earlier run, and the server has not confirmed them yet."""
    BOOTSTRAP = "bootstrap"
    """The application brought them, and the server has not confirmed them yet."""
    SERVER = "server"


@dataclass
class StoreUpdate:
    """What one message did, and what the shell must do."""

    changes: list[EntryChange] = field(default_factory=list)
    requests_snapshot: bool = False
    error: MalformedMessage | None = None


class StoreCore:
    """The state machine of one selection of flags."""

    def __init__(self, selection: Selection = EVERYTHING) -> None:
        self.selection = selection
        self.status = StoreStatus.INITIALIZING
        self.table = FlagTable()
        self.source: StoreSource | None = None
        """``None`` before there are flags."""
        self.awaits_snapshot = True
        """Whether the state must be replaced: a connection that does not resume must bring a snapshot."""
        self._cursor = Cursor()
        self._liveness = Liveness()
        self._digest_check = DigestCheck()
        self._pending: list[Mapping[str, Any]] = []
        self._is_connected = False
        self._is_fresh = False
        self._is_silent = False
        self._head: int | None = None
        self._is_elsewhere = False
        """Resumed on another log: its positions mean nothing here, and a resync follows."""

    # ---------------------------------------------------------------- state

    @property
    def last_event_id(self) -> str | None:
        """The id up to which the state is complete; ``None`` before the first snapshot."""
        return self._cursor.id

    @property
    def position(self) -> int | None:
        """The position up to which the state is complete; ``None`` before the first snapshot."""
        return self._cursor.position

    # -------------------------------------------------------------- signals

    def restore(self, saved: SavedFlags, source: StoreSource) -> None:
        """Begin with known flags, before the first message. They are readable and STALE until the server confirms."""
        if self.status is not StoreStatus.INITIALIZING or self.source is not None:
            return
        self.table.begin_replacement(any(isinstance(flag.get("schema"), str) for flag in saved.flags))
        if saved.unread:
            # They were saved by a store of the same selection.
            self.table.restore_unread(saved.unread)
        self.table.restore(flag for flag in saved.flags if self.selection.selects_flag(flag))
        self._cursor.replace(saved.event_id)
        self.awaits_snapshot = saved.event_id is None
        self.source, self.status = source, StoreStatus.STALE

    def tick(self, now: float) -> None:
        """Time has passed. Idempotent."""
        if self._liveness.is_silent(now):
            self._is_silent = True
            self._update_status()

    def connection_lost(self) -> None:
        """The connection ended; the client will connect again."""
        self._is_connected = False
        self._update_status()

    def client_failed(self) -> None:
        """The client failed for good. Later messages are ignored."""
        if self.status is not StoreStatus.CLOSED:
            self.status = StoreStatus.ERROR

    def close(self) -> None:
        """Later messages and signals are ignored."""
        self.status = StoreStatus.CLOSED

    def snapshot_failed(self) -> None:
        """The requested snapshot cannot be delivered; the next digest may request another one."""
        if self.status is StoreStatus.STALE and self._is_connected:
            self.awaits_snapshot = False
            self._update_status()

    # ------------------------------------------------------------- messages

    def receive(self, message: Mapping[str, Any], now: float, resumed: bool = False) -> StoreUpdate:
        """Apply one message of the stream. After ``close`` or ``client_failed``, an empty update."""
        update = StoreUpdate()
        if self.status in (StoreStatus.CLOSED, StoreStatus.ERROR):
            return update
        self._liveness.message(now)
        try:
            self._apply_message(message, now, resumed, update)
        except MalformedMessage as error:
            update.error = error
        update.changes = self.table.take_changes()
        self._update_status()
        return update

    def _apply_message(self, message: Mapping[str, Any], now: float, resumed: bool, update: StoreUpdate) -> None:
        kind = message.get("type")
        if not isinstance(kind, str):
            raise MalformedMessage("a message has no type")
        if kind in ("connected", "subscribed"):
            self._connected(message, now, resumed)
        elif kind == "caught_up":
            self._head = None
        elif kind == "heartbeat":
            self._heartbeat(message, now, update)
        elif kind == "snapshot":
            self._replace(message, message, update)
        elif kind == "resync":
            snapshot = message.get("snapshot")
            if not isinstance(snapshot, dict):
                raise MalformedMessage("a resync has no snapshot")
            self._pending.clear()
            self._replace(snapshot, message, update)
        elif kind == "batch":
            self._apply_events(message.get("events"), update)
        else:
            self._apply_event(message, update)

    def _apply_events(self, events: object, update: StoreUpdate) -> None:
        if not isinstance(events, list):
            raise MalformedMessage("a batch has no list of events")
        malformed: MalformedMessage | None = None
        for event in events:
            try:
                self._apply_event(event, update)
            except MalformedMessage as error:
                malformed = error
        if malformed is not None:
            raise malformed

    def _connected(self, message: Mapping[str, Any], now: float, resumed: bool) -> None:
        self._liveness.connected(now)
        self._liveness.announced(message.get("heartbeatMs"))
        self._is_connected = True
        self._is_silent = False
        self._is_fresh = message.get("fresh") is not False
        self._head = _position(message)
        event_id = message.get("id")
        self._is_elsewhere = resumed and isinstance(event_id, str) and self._cursor.is_other_log(event_id)
        if not resumed:
            self.awaits_snapshot = True
            self._pending.clear()

    def _heartbeat(self, message: Mapping[str, Any], now: float, update: StoreUpdate) -> None:
        self._liveness.heartbeat(now)
        self._is_silent = False
        fresh = message.get("fresh")
        if isinstance(fresh, bool):
            self._is_fresh = fresh
        if self.awaits_snapshot:
            return
        if fresh is True:
            self._head = None
        position, mine, digest = _position(message), self._cursor.position, message.get("digest")
        # Everything before a heartbeat has arrived and nothing after it, so the state is that of its position.
        is_comparable = position is not None and mine is not None and mine <= position and is_digest(digest)
        if self.selection.everything and is_comparable and self._digest_check.compare(self.table.digest, digest):
            self._request_snapshot(update)
        event_id = message.get("id")
        if isinstance(event_id, str) and not self._cursor.is_other_log(event_id):
            self._cursor.advance(event_id)

    def _request_snapshot(self, update: StoreUpdate) -> None:
        self.awaits_snapshot = True
        self._pending.clear()
        update.requests_snapshot = True

    def _replace(self, snapshot: Mapping[str, Any], message: Mapping[str, Any], update: StoreUpdate) -> None:
        flags, event_id = snapshot.get("flags"), message.get("id")
        if not isinstance(flags, list) or not all(_is_flag(flag) for flag in flags):
            raise MalformedMessage("a snapshot has no list of flags")
        if not isinstance(event_id, str):
            raise MalformedMessage("a snapshot has no id")
        self.table.begin_replacement(any(isinstance(flag.get("schema"), str) for flag in flags))
        old = list(self.table.entries)
        kept: set[FlagIdentity] = set()
        for flag in flags:
            if self.selection.selects_flag(flag):
                kept.add(self.table.put(flag, flag.get("schema")))
        for identity in old:
            if identity not in kept:
                self.table.remove(identity)
        self._cursor.replace(event_id)
        self._head, self._is_elsewhere = None, False
        self.source = StoreSource.SERVER
        self.awaits_snapshot = False
        self._digest_check.snapshot_received()
        pending, self._pending = self._pending, []
        for event in pending:
            if not self._cursor.is_other_log(event["id"]):
                self._apply_event(event, update)

    def _apply_event(self, message: object, update: StoreUpdate) -> None:
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            raise MalformedMessage("an event is not an object with a type")
        flag = message.get("flag")
        if flag is not None and not _is_flag(flag):
            raise MalformedMessage("the flag of an event has no key or no id")
        event_id = message.get("id")
        if not isinstance(event_id, str):
            if message["type"] == "flag_deleted" or flag is not None:
                raise MalformedMessage("an event has no id")
            return
        if self.awaits_snapshot:
            self._pending.append(message)
            del self._pending[:-MAX_PENDING_EVENTS]
            if self._cursor.id is None:
                return
        if self._cursor.covers(event_id):
            return
        if self._cursor.is_other_log(event_id):
            self._defer(message, update)
            return
        self._cursor.replace(event_id)
        schema, table = message.get("schema"), self.table
        deletes = message["type"] == "flag_deleted" and isinstance(message.get("flagKey"), str)
        if isinstance(schema, str) and not table.has_several_schemas and (flag is not None or deletes):
            if table.only_schema is None:
                table.only_schema = schema
            elif table.only_schema != schema:
                self._defer(message, update)
                return
        if flag is not None and self.selection.selects_flag(flag):
            table.put(flag, schema)
        elif flag is not None:
            table.remove(FlagIdentity(table.stored_schema(schema), flag["id"]))
        elif deletes:
            table.remove_key(message["flagKey"], schema, message.get("flagID"))

    def _defer(self, message: Mapping[str, Any], update: StoreUpdate) -> None:
        """Keep an event that does not fit the state, and request a snapshot in which it does."""
        self._digest_check.differs = True
        if not self.awaits_snapshot:
            self._request_snapshot(update)
            self._pending.append(message)

    # --------------------------------------------------------------- status

    def _update_status(self) -> None:
        if self.status in (StoreStatus.CLOSED, StoreStatus.ERROR) or (
            self.status is StoreStatus.INITIALIZING and self.awaits_snapshot
        ):
            return
        mine = self._cursor.position
        if self._head is not None and mine is not None and mine >= self._head:
            self._head = None
        is_ready = (
            self._is_connected
            and self._is_fresh
            and not self._is_silent
            and not self.awaits_snapshot
            and not self._digest_check.differs
            and self._head is None
            and not self._is_elsewhere
        )
        self.status = StoreStatus.READY if is_ready else StoreStatus.STALE
        if is_ready:
            self.source = StoreSource.SERVER


def _is_flag(value: object) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("key"), str)
        and isinstance(value.get("id"), int)
        and not isinstance(value.get("id"), bool)
    )


def _position(message: Mapping[str, Any]) -> int | None:
    value = message.get("position")
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
