"""Lets a store begin with flags that were saved, or that the application brings."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import logging
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from ._cache_key import cache_key
from ._saved_flags import SavedFlags, choose, read_bootstrap, read_document
from ._store_core import StoreSource
from ._store_driver import StoreDriver
from ._store_saver import StoreSaver
from .errors import FlagentError, IgnoredFlags, PersistenceFailed
from .persistence import Persistence

if TYPE_CHECKING:
    from ._client import RealtimeClient

logger = logging.getLogger("flagent_realtime")

Report = Callable[[FlagentError], None]


def begin_with_known_flags(
    client: RealtimeClient,
    driver: StoreDriver,
    persistence: Persistence | None,
    bootstrap: object,
    max_age: timedelta,
    cache_identity: str | None,
) -> None:
    """Restore the store, at once where that is possible; else the driver's ``load`` does it at the first connection."""
    with _collector_paused():
        brought = None if bootstrap is None else _read_bootstrap(bootstrap, client._report_error)
        if persistence is None:
            _restore(driver, None, brought)
            return
    beginning = _Beginning(client, driver, persistence, brought, max_age)
    if cache_identity is None and callable(client._api_key):
        # Meanwhile what the application has brought is readable; it does not resume, because the cache may be newer.
        driver.load = beginning.load
        return
    credential = cache_identity if cache_identity is not None else client._static_key
    text = beginning.start(credential)
    if inspect.isawaitable(text):
        driver.load = lambda _: beginning.finish_later(text)
    else:
        beginning.finish(text)


@contextlib.contextmanager
def _collector_paused() -> Iterator[None]:
    """Pause the garbage collector: while ten thousand flags are made, it would look at all of them again and again, and
    take most of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class _Beginning:
    """The reading of one store's saved flags."""

    def __init__(
        self,
        client: RealtimeClient,
        driver: StoreDriver,
        persistence: Persistence,
        brought: SavedFlags | None,
        max_age: timedelta,
    ) -> None:
        self._client = client
        self._driver = driver
        self._persistence = persistence
        self._brought = brought
        self._max_age = max_age

    def start(self, credential: str | None) -> object:
        """Ask for the saved text; the result may be awaitable."""
        key = cache_key(self._client.url, self._driver.selection, credential)
        self._driver.saver = StoreSaver(self._persistence, self._driver.core, key, self._client._report_error)
        try:
            return self._persistence.load(key)
        except Exception as cause:
            self._failed(cause)
            return None

    def finish(self, text: object) -> None:
        """Restore the store from the saved text, or from what the application has brought."""
        assert self._driver.saver is not None
        saved = None
        with _collector_paused():
            if isinstance(text, str):
                try:
                    saved = read_document(text, self._driver.saver.key, datetime.now(timezone.utc), self._max_age)
                except IgnoredFlags as error:
                    _ignored(error, self._client._report_error)
            _restore(self._driver, saved, self._brought)
        # A state that is the same as the saved one need not be saved again.
        self._driver.saver._saved_id = None if saved is None else self._driver.core.last_event_id

    async def finish_later(self, text: object) -> None:
        self._driver.load = None
        try:
            found = await text if inspect.isawaitable(text) else text
        except Exception as cause:
            self._failed(cause)
            found = None
        self.finish(found)

    async def load(self, credential: str | None) -> None:
        """Read with a credential that is known only now; a slow disk does not stop the event loop."""
        text = await asyncio.get_running_loop().run_in_executor(None, self.start, credential)
        await self.finish_later(text)

    def _failed(self, cause: Exception) -> None:
        error = PersistenceFailed(f"the saved flags cannot be read; the store starts without: {cause}")
        error.__cause__ = cause
        logger.warning("%s", error, extra={"action": "persistence_failed", "reason": str(cause)})
        self._client._report_error(error)


def _restore(driver: StoreDriver, saved: SavedFlags | None, brought: SavedFlags | None) -> None:
    chosen = choose(saved, brought)
    if chosen is not None:
        driver.restore(chosen, StoreSource.CACHE if chosen is saved else StoreSource.BOOTSTRAP)


def _read_bootstrap(bootstrap: object, report: Report) -> SavedFlags | None:
    try:
        return read_bootstrap(bootstrap)
    except IgnoredFlags as error:
        _ignored(IgnoredFlags(error.reason, error.explanation, "bootstrap"), report)
        return None


def _ignored(error: IgnoredFlags, report: Report) -> None:
    logger.warning("%s", error, extra={"action": "known_flags_ignored", "reason": error.reason})
    report(error)
