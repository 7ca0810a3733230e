"""Feeds a :class:`StoreCore` with a client's messages and signals, and notifies the listeners of its store.

A driver belongs to one client, which calls it from the event loop. The core applies a message at once; listeners are
called from the client's queue of handlers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ._dispatcher import Dispatcher
from ._flag_table import ChangeKind, EntryChange
from ._selection import Selection
from ._store_core import StoreCore, StoreStatus, StoreUpdate
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
        return update

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
