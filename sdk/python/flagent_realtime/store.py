"""The live local copy of flags."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from ._evaluation import EvaluationResult, evaluate_flag
from ._exposure_feed import Exposure
from ._exposure_window import ExposureWindow
from ._flag_table import ChangeKind, FlagEntry, FlagIdentity
from ._known_flags import begin_with_known_flags
from ._position_target import PositionTarget, Progress
from ._selection import Selection
from ._store_core import StoreSource, StoreStatus
from ._store_driver import FlagChange, StoreDriver
from ._values import ContextValue
from .errors import AmbiguousFlag, ClientClosed, NotReady
from .flags import Flag
from .persistence import Persistence

if TYPE_CHECKING:
    from ._client import RealtimeClient

__all__ = ["ChangeKind", "FlagChange", "FlagStore", "StoreSource", "StoreStatus"]

DEFAULT_MAX_AGE = timedelta(days=30)
SAME_COMMIT_S = 0.05
"""After the first event of a commit its other events arrive within this time, if there are any."""

Listener = Callable[..., Any]


class FlagStore:
    """A live local copy of the flags that a client receives.

    *flags* (keys), *flag_ids* and *tags* select what the store holds; without any of them it holds every flag. Only a
    store of every flag can verify itself by the server's digest. The store is readable in every status and from every
    thread. Reading uses no network.

    A store can begin with flags that are known already, and is then usable at once, with the status STALE:

    - *persistence* keeps the flags between two runs, for example a :class:`FilePersistence`. What was saved longer ago
      than *max_age* (seconds or a timedelta), is damaged, or belongs to another server, selection or credential, is
      ignored and reported.
    - *cache_identity*: the text that names the user of the saved flags, in place of the credential; for credentials
      that change. A credential that is a function is otherwise known only when the client starts, and so are the flags.
    - *bootstrap*: what ``GET /api/v1/snapshot`` or ``GET /api/v1/flags?preload=true`` answers, or a saved document, as
      text or parsed.

    *exposure_window* is in seconds: :meth:`on_exposure` hears of an entity that gets the same variant of a flag again
    only after it.

    With both, the newer state counts. ``source`` says where the flags come from. When the client connects, the server
    sends only what has changed since.

    Raises :exc:`ClientClosed` when the client is closed.
    """

    def __init__(
        self,
        client: RealtimeClient,
        *,
        flags: Iterable[str] = (),
        flag_ids: Iterable[int] = (),
        tags: Iterable[str] = (),
        persistence: Persistence | None = None,
        bootstrap: object = None,
        max_age: float | timedelta = DEFAULT_MAX_AGE,
        cache_identity: str | None = None,
        exposure_window: float = 3600.0,
    ) -> None:
        self._client = client
        self._window = ExposureWindow(exposure_window)
        self.selection = Selection.of_flags(flags, flag_ids, tags)
        self._driver = StoreDriver(self.selection, client._dispatcher)
        self._core = self._driver.core
        client._check_open()
        begin_with_known_flags(client, self._driver, persistence, bootstrap, _age(max_age), cache_identity)
        client._attach(self._driver)

    # --------------------------------------------------------------- reading

    @property
    def status(self) -> StoreStatus:
        """INITIALIZING, READY, STALE, ERROR or CLOSED. After a fork, ERROR: the copy is no longer updated."""
        status = self._core.status
        return StoreStatus.ERROR if status is not StoreStatus.CLOSED and self._client._home.is_forked else status

    @property
    def source(self) -> StoreSource | None:
        """Where the flags come from: CACHE, BOOTSTRAP or SERVER; ``None`` before there are any."""
        return self._core.source

    @property
    def position(self) -> int | None:
        """The position up to which the store is complete; ``None`` before there are flags."""
        return self._core.position

    @property
    def last_event_id(self) -> str | None:
        """The event id up to which the store is complete; ``None`` before the first snapshot."""
        return self._core.last_event_id

    @property
    def digest(self) -> str:
        """``<count>:<hex8>``, equal to the server's digest of the same flags."""
        return self._core.table.digest

    def get(self, key: str, schema: str | None = None) -> Flag | None:
        """The flag of a key, or ``None``.

        *schema* is needed only when the server watches several. Raises :exc:`AmbiguousFlag` when *schema* is ``None``
        and several schemas have a flag of this key.
        """
        entry = self._entry(key, schema)
        return None if entry is None else entry.flag

    def all(self) -> list[Flag]:
        """All flags at this moment, ordered by schema and key."""
        return [entry.flag for entry in sorted(self._core.table, key=lambda entry: (entry.schema, entry.key))]

    def __iter__(self) -> Iterator[Flag]:
        return iter(self.all())

    def __len__(self) -> int:
        return len(self._core.table)

    def __contains__(self, key: object) -> bool:
        return key in self._core.table

    def _entry(self, key: str, schema: str | None) -> FlagEntry | None:
        found = self._core.table.of_key(key)
        if schema is not None:
            return found.get(self._core.table.lookup_schema(schema))
        if len(found) > 1:
            raise AmbiguousFlag(key, sorted(found))
        return next(iter(found.values()), None)

    def evaluate(
        self,
        flag_key: str | None = None,
        entity_id: str | int | None = None,
        entity_context: Mapping[str, ContextValue] | None = None,
        *,
        flag_id: int | None = None,
        entity_type: str | None = None,
        schema: str | None = None,
    ) -> EvaluationResult:
        """Evaluate a flag for an entity without network; the result equals the server's.

        A missing or disabled flag gives a result whose ``variant_key`` is ``None``. *flag_id* takes precedence over
        *flag_key*; either is looked up among the ids first, then among the keys. Without *entity_id* a random entity
        is evaluated; a whole number counts as its digits. Values of *entity_context* are strings, finite numbers,
        booleans or ``None`` (absent); other types raise :exc:`TypeError`. Raises :exc:`AmbiguousFlag` as :meth:`get`
        does.
        """
        name = str(flag_id) if flag_id is not None else flag_key
        flag = None if name is None else self._find_enabled(name, schema)
        result = evaluate_flag(
            flag,
            lambda key: self.get(key, schema),
            requested_id=flag_id,
            requested_key=flag_key,
            entity_id=entity_id,
            entity_type=entity_type,
            entity_context=entity_context,
        )
        feed = self._client._exposures
        if feed.handlers and name is not None:
            self._expose(result, flag or self._find(name, schema), entity_context)
        return result

    def _expose(self, result: EvaluationResult, flag: Flag | None, context: Mapping[str, ContextValue] | None) -> None:
        if flag is None:
            return
        entity_id = str(result.entity_id)
        key = (flag.schema, flag.key, entity_id, result.variant_key)
        if not self._window.is_first(key, time.monotonic()):
            return
        self._client._exposures.publish(
            Exposure(
                flag_key=flag.key,
                flag_id=flag.id,
                schema=flag.schema,
                variant_key=result.variant_key,
                entity_id=entity_id,
                segment_id=result.segment_id,
                position=self.position,
                context_keys=tuple(sorted(context or ())),
                time=datetime.now(timezone.utc),
            )
        )

    def on_exposure(self, handler: Listener) -> Callable[[], None]:
        """Call *handler* with each :class:`Exposure` of this client: the first per flag, entity and variant within the
        window. Returns a function that removes it."""
        return self._client.on_exposure(handler)

    def _find(self, name: str, schema: str | None) -> Flag | None:
        """The flag whose id, or else whose key, is *name*, also when it is off."""
        table = self._core.table
        if name.isascii() and name.isdigit():
            entry = table.entries.get(FlagIdentity("" if schema is None else table.lookup_schema(schema), int(name)))
            if entry is not None:
                return entry.flag
        return self.get(name, schema)

    def _find_enabled(self, name: str, schema: str | None) -> Flag | None:
        """The enabled flag whose id, or else whose key, is *name*."""
        table = self._core.table
        if name.isascii() and name.isdigit() and str(int(name)) == name:
            entry = table.entries.get(FlagIdentity("" if schema is None else table.lookup_schema(schema), int(name)))
            if entry is not None and entry.flag.enabled:
                return entry.flag
        flag = self.get(name, schema)
        return flag if flag is not None and flag.enabled else None

    # --------------------------------------------------------------- waiting

    async def ready(self, timeout: float | None = None) -> None:
        """Wait until the store has been READY once.

        *timeout* is in seconds; ``None`` waits without limit. Raises :exc:`NotReady` on timeout (its ``__cause__`` is
        the last connection error, if there was one), and at once when the client is offline or not started; the
        client's ``failure`` when the client failed for good, and :exc:`ClientClosed` when the client or the store was
        closed.
        """
        self._client._home.enter()
        if self._client.is_offline and not self._driver.settled.is_set():
            raise NotReady("the store cannot become ready: the client is offline; call its start() first")
        try:
            await asyncio.wait_for(self._driver.settled.wait(), timeout)
        except asyncio.TimeoutError:
            error = self._client._last_connection_error
            reason = "" if error is None else f"; {error}"
            raise NotReady(f"the store was not ready after {timeout:g} s ({self.status.value}){reason}") from error
        if self.status is StoreStatus.ERROR and self._client.failure is not None:
            raise self._client.failure
        if self.status is StoreStatus.CLOSED:
            raise ClientClosed()

    async def wait_for(self, position: int | str, timeout: float | None = None) -> None:
        """Wait until the store is complete up to a position, or an event id, so that a program can read its own write.

        *timeout* is in seconds. A commit that changed nothing in this store is reached with the next heartbeat.
        Raises :exc:`ValueError` for what is neither, and for an id of another change log; :exc:`NotReady` on timeout;
        otherwise as :meth:`ready`.
        """
        target = PositionTarget.parse(position)
        self._client._home.enter()
        try:
            await asyncio.wait_for(self._reached(target), timeout)
        except asyncio.TimeoutError:
            raise NotReady(
                f"the store had not reached {position} after {timeout:g} s; it is at {self.last_event_id}"
            ) from self._client._last_connection_error

    async def _reached(self, target: PositionTarget) -> None:
        while True:
            if self.status is StoreStatus.ERROR and self._client.failure is not None:
                raise self._client.failure
            if self.status is StoreStatus.CLOSED:
                raise ClientClosed()
            progress = target.progress(self.last_event_id, is_confirmed=self.source is StoreSource.SERVER)
            if progress is Progress.REACHED:
                return
            if progress is Progress.PARTLY:
                # The other events of the commit were sent together with this one.
                try:
                    await asyncio.wait_for(self._driver.advanced(), SAME_COMMIT_S)
                except asyncio.TimeoutError:
                    return
            else:
                await self._driver.advanced()

    def on_change(self, listener: Listener) -> Callable[[], None]:
        """Call *listener* with each :class:`FlagChange`, in order. Returns a function that removes the listener."""
        self._driver.change_listeners.append(listener)
        return lambda: self._driver.change_listeners.remove(listener)

    def on_status(self, listener: Listener) -> Callable[[], None]:
        """Call *listener* with each new :class:`StoreStatus`. Returns a function that removes the listener."""
        self._driver.status_listeners.append(listener)
        return lambda: self._driver.status_listeners.remove(listener)

    def close(self) -> None:
        """Stop updating the store; the client stays open and the flags stay readable. Idempotent."""
        self._driver.close()
        self._client._detach(self._driver)


def _age(value: float | timedelta) -> timedelta:
    age = value if isinstance(value, timedelta) else timedelta(seconds=value)
    if age <= timedelta(0):
        raise ValueError(f"max_age is {value}; it must be more than 0, in seconds or a timedelta")
    return age
