"""Feeds a :class:`StoreCore` with a client's messages and signals, and notifies the listeners of its store.

A driver belongs to one client, which calls it from the event loop. The core applies a message at once; listeners are
called from the client's queue of handlers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ._dispatcher import Dispatcher
from ._flag_table import ChangeKind, EntryChange
from ._saved_flags import SavedFlags
from ._selection import Selection
from ._store_core import StoreCore, StoreSource, StoreStatus, StoreUpdate
from ._store_saver import StoreSaver
from .flags import Flag

Listener = Callable[..., Any]


@dataclass(frozen=True)
class FlagChange:
    """How a flag of a store changed.

    ``before`` is ``None`` for a created flag, ``after`` for a deleted one. ``schema`` is ``None`` while the server has
    one schema only.
    """

    kind: ChangeKind
    key: str
    schema: str | None
    before: Flag | None
    after: Flag | None


class StoreDriver:
    """The client's side of one store. Times are in seconds of the client's monotonic clock."""

    def __init__(self, selection: Selection, dispatcher: Dispatcher) -> None:
        self.core = StoreCore(selection)
        self.settled = asyncio.Event()
        """Set once the store has been READY, or is in ERROR or CLOSED."""
        self.change_listeners: list[Listener] = []
        self.status_listeners: list[Listener] = []
        self._dispatcher = dispatcher
        self._last_status = self.core.status
        self.saver: StoreSaver | None = None
        """Set for a store that is saved, once its key is known."""
        self.load: Callable[[str | None], Awaitable[None]] | None = None
        """Reads the saved flags with the credential of the first connection; ``None`` where that has been done."""
        self._advanced: asyncio.Event | None = None

    @property
    def selection(self) -> Selection:
        return self.core.selection

    @property
    def awaits_snapshot(self) -> bool:
        return self.core.awaits_snapshot

    def receive(self, message: Mapping[str, Any], now: float, resumed: bool = False) -> StoreUpdate:
        """Apply a message and queue the calls of the change listeners."""
        update = self.core.receive(message, now, resumed)
        if update.changes and self.change_listeners:
            changes = [_flag_change(change) for change in update.changes]
            self._dispatcher.post(lambda: self._publish(self.change_listeners, changes))
        self._update_status()
        if self.saver is not None:
            self.saver.note(bool(update.changes))
        self._wake()
        return update

    def restore(self, saved: SavedFlags, source: StoreSource) -> None:
        """Begin with known flags."""
        self.core.restore(saved, source)
        self._update_status()

    async def advanced(self) -> None:
        """Wait until the next message was applied, or the store is in ERROR or CLOSED."""
        if self._advanced is None:
            self._advanced = asyncio.Event()
        await self._advanced.wait()

    def _wake(self) -> None:
        event, self._advanced = self._advanced, None
        if event is not None:
            event.set()

    def tick(self, now: float) -> None:
        """Time has passed: the store may have become STALE."""
        self.core.tick(now)
        self._update_status()

    def connection_lost(self) -> None:
        self.core.connection_lost()
        self._update_status()

    def client_failed(self) -> None:
        self.core.client_failed()
        self._update_status()

    def snapshot_failed(self) -> None:
        """The snapshot that an update requested cannot be delivered."""
        self.core.snapshot_failed()
        self._update_status()

    def close(self) -> None:
        """Idempotent."""
        self.core.close()
        self._update_status()

    def _update_status(self) -> None:
        status = self.core.status
        if status is self._last_status:
            return
        self._last_status = status
        if status in (StoreStatus.READY, StoreStatus.ERROR, StoreStatus.CLOSED):
            self.settled.set()
            self._wake()
        if self.status_listeners:
            self._dispatcher.post(lambda: self._publish(self.status_listeners, [status]))

    async def _publish(self, listeners: list[Listener], values: list[Any]) -> None:
        for value in values:
            for listener in list(listeners):
                await self._dispatcher.call(listener, value)


def _flag_change(change: EntryChange) -> FlagChange:
    return FlagChange(
        change.kind,
        change.key,
        change.schema or None,
        None if change.before is None else change.before.flag,
        None if change.after is None else change.after.flag,
    )
