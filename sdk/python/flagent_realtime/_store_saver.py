"""Saves a store, paced: at most once a second, an id that moved alone at most once a minute, never on a message's path.

The state is taken in the event loop, in one step; it is encoded and written in a thread.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from datetime import datetime, timezone

from ._saved_flags import write_document
from ._store_core import StoreCore, StoreSource
from .errors import FlagentError, PersistenceFailed
from .persistence import Persistence

logger = logging.getLogger("flagent_realtime")

FLAGS_PAUSE_S = 1.0
ID_PAUSE_S = 60.0
LAST_SAVE_S = 1.5
"""The most seconds that closing waits for the last save."""


class StoreSaver:
    """Saves one store under one key. *report* is called with each error, once per cause until a save succeeds."""

    def __init__(
        self, persistence: Persistence, core: StoreCore, key: str, report: Callable[[FlagentError], None]
    ) -> None:
        self.key = key
        self._persistence = persistence
        self._core = core
        self._report = report
        self._saved_id: str | None = core.last_event_id
        self._saved_at: float | None = None
        self._flags_differ = False
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._reported: set[str] = set()

    def note(self, flags_differ: bool) -> None:
        """A message was applied. Call in the event loop."""
        self._flags_differ = self._flags_differ or flags_differ
        if not self._is_due() or self._task is not None:
            return
        now = asyncio.get_running_loop().time()
        pause = FLAGS_PAUSE_S if self._flags_differ else ID_PAUSE_S
        # The first state of a run is saved soon, whatever changed.
        due = now if self._saved_at is None else max(now, self._saved_at + pause)
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(due, self._start)

    async def flush(self) -> None:
        """Save what is not saved yet; waits :data:`LAST_SAVE_S` at most."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            await asyncio.wait_for(self._flush(), LAST_SAVE_S)
        except asyncio.TimeoutError as cause:
            self._failed(cause, f"the flags cannot be saved within {LAST_SAVE_S:g} s")

    async def _flush(self) -> None:
        if self._task is not None:
            await asyncio.shield(self._task)
        if self._is_due():
            await self._save()

    def _is_due(self) -> bool:
        core = self._core
        is_confirmed = core.source is StoreSource.SERVER and core.last_event_id is not None
        return is_confirmed and (self._flags_differ or core.last_event_id != self._saved_id)

    def _start(self) -> None:
        self._timer = None
        self._task = asyncio.get_running_loop().create_task(self._save(), name="flagent-save")
        self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled():
            task.result()
            self.note(False)

    async def _save(self) -> None:
        core, loop = self._core, asyncio.get_running_loop()
        event_id, digest = core.last_event_id, core.table.digest
        entries = list(core.table)
        assert event_id is not None
        self._flags_differ, self._saved_id, self._saved_at = False, event_id, loop.time()
        now = datetime.now(timezone.utc)

        def write() -> object:
            return self._persistence.save(self.key, write_document(self.key, event_id, entries, digest, now))

        try:
            result = await loop.run_in_executor(None, write)
            if inspect.isawaitable(result):
                await result
        except Exception as cause:
            self._failed(cause, "the flags cannot be saved")
            # Tried again with the next message, after the pause.
            self._saved_id = None
            return
        self._reported.clear()

    def _failed(self, cause: Exception, what: str) -> None:
        text = f"{type(cause).__name__}: {getattr(cause, 'errno', None) or cause}"
        if text in self._reported:
            return
        self._reported.add(text)
        error = PersistenceFailed(f"{what}; the store goes on without: {cause}")
        error.__cause__ = cause
        logger.warning("%s", error, extra={"action": "persistence_failed", "reason": str(cause)})
        self._report(error)
