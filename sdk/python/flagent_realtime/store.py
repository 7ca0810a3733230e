"""The live local copy of flags."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ._evaluation import ContextValue, EvaluationResult, evaluate_flag
from ._selection import EVERYTHING, Selection
from ._store_core import ChangeKind, Entry, Identity, Outcome, Status, StoreCore
from ._store_driver import Change, _typed
from .errors import AmbiguousFlag, ClientClosed, NotReady
from .flags import Flag

if TYPE_CHECKING:
    from ._client import RealtimeClient

__all__ = ["Change", "ChangeKind", "FlagStore", "Status"]

Listener = Callable[..., Any]


class FlagStore:
    """A live local replica of what it selects; everything, when no selector is given.

    It stays readable in each status and from every thread. Listeners are called in the client's queue of handlers;
    the store itself is already as new as what has arrived.
    """

    def __init__(
        self,
        client: RealtimeClient,
        *,
        flags: Iterable[str] = (),
        flag_ids: Iterable[int] = (),
        tags: Iterable[str] = (),
    ) -> None:
        self._client = client
        self._core = StoreCore(flags, flag_ids, tags)
        core = self._core
        self.selection = (
            EVERYTHING
            if core.selects_everything
            else Selection(flags=core.flag_keys, flag_ids=core.flag_ids, tags=core.tags)
        )
        self._settled = asyncio.Event()
        self._known_status = core.status
        self._change_listeners: list[Listener] = []
        self._status_listeners: list[Listener] = []
        client._attach(self)

    # --------------------------------------------------------------- reading

    @property
    def status(self) -> Status:
        """INITIALIZING, READY, STALE, ERROR or CLOSED."""
        return self._core.status

    @property
    def position(self) -> str | None:
        """The id of the last event or snapshot in this state."""
        return self._core.cursor

    @property
    def digest(self) -> str:
        """``<count>:<hex8>``, comparable with the server's."""
        return self._core.digest

    def get(self, key: str, schema: str | None = None) -> Flag | None:
        """The flag of a key, ``None`` when there is none.

        Raises :exc:`AmbiguousFlag` when several schemas have it and none is named.
        """
        entry = self._entry(key, schema)
        return None if entry is None else entry.flag

    def all(self) -> list[Flag]:
        """All flags, by schema and key."""
        entries = list(self._core.entries.values())  # a copy at once, for other threads may read
        entries.sort(key=lambda entry: (entry.schema, entry.key))
        return [entry.flag for entry in entries]

    def __iter__(self) -> Iterator[Flag]:
        return iter(self.all())

    def __len__(self) -> int:
        return len(self._core.entries)

    def __contains__(self, key: object) -> bool:
        return key in self._core.by_key

    def _entry(self, key: str, schema: str | None) -> Entry | None:
        found = self._core.schemas_of(key)
        if schema is not None:
            return found.get(self._core.names(schema))
        if len(found) > 1:
            raise AmbiguousFlag(key, sorted(found))
        return next(iter(found.values()), None)

    def evaluate(
        self,
        flag_key: str | None = None,
        entity_id: str | None = None,
        entity_context: Mapping[str, ContextValue] | None = None,
        *,
        flag_id: int | None = None,
        entity_type: str | None = None,
        schema: str | None = None,
    ) -> EvaluationResult:
        """Evaluate a flag for an entity without network, exactly as the server does.

        A flag that is missing or disabled gives a result without variant. An id, where given, wins over the key; both
        are looked up among ids first, then among keys, as the server does.
        """
        asked = str(flag_id) if flag_id is not None else flag_key
        return evaluate_flag(
            None if asked is None else self._find(asked, schema),
            lambda key: self.get(key, schema),
            asked_id=flag_id,
            asked_key=flag_key,
            entity_id=entity_id,
            entity_type=entity_type,
            entity_context=entity_context,
        )

    def _find(self, asked: str, schema: str | None) -> Flag | None:
        """The enabled flag whose id, else whose key, reads so."""
        if asked.isascii() and asked.isdigit() and str(int(asked)) == asked:
            name = "" if schema is None else self._core.names(schema)
            entry = self._core.entries.get(Identity(name, int(asked)))
            if entry is not None and entry.flag.enabled:
                return entry.flag
        flag = self.get(asked, schema)
        return flag if flag is not None and flag.enabled else None

    # --------------------------------------------------------------- waiting

    async def ready(self, timeout: float | None = None) -> None:
        """Wait until the store is READY for the first time; *timeout* in seconds.

        Raises :exc:`NotReady` when the time is over (its ``__cause__`` is why the last connection failed, where one
        did), the client's failure when it has given up, and :exc:`ClientClosed`.
        """
        try:
            await asyncio.wait_for(self._settled.wait(), timeout)
        except asyncio.TimeoutError:
            trouble = self._client._trouble
            why = "" if trouble is None else f"; {trouble}"
            raise NotReady(f"the store was not ready after {timeout:g} s ({self.status.value}){why}") from trouble
        if self.status is Status.ERROR and self._client.failure is not None:
            raise self._client.failure
        if self.status is Status.CLOSED:
            raise ClientClosed("the client was closed")

    def on_change(self, listener: Listener) -> Callable[[], None]:
        """Call *listener* with each :class:`Change`; returns a function that ends it."""
        self._change_listeners.append(listener)
        return lambda: self._change_listeners.remove(listener)

    def on_status(self, listener: Listener) -> Callable[[], None]:
        """Call *listener* with each new :class:`Status`; returns a function that ends it."""
        self._status_listeners.append(listener)
        return lambda: self._status_listeners.remove(listener)

    def close(self) -> None:
        """Detach from the client, which lives on. Idempotent."""
        self._closed()
        self._client._detach(self)

    # ----------------------------------------------- what the client tells it

    @property
    def _awaits_snapshot(self) -> bool:
        return self._core.awaits_snapshot

    def _receive(self, message: Mapping[str, Any], now: float, resumed: bool = False) -> Outcome:
        outcome = self._core.receive(message, now, resumed)
        if outcome.changes and self._change_listeners:
            changes = [_typed(change) for change in outcome.changes]
            self._client._dispatcher.post(lambda: self._tell_changes(changes))
        self._look()
        return outcome

    def _tick(self, now: float) -> None:
        self._core.tick(now)
        self._look()

    def _lost(self) -> None:
        self._core.lost()
        self._look()

    def _request_refused(self) -> None:
        self._core.request_refused()
        self._look()

    def _failed(self) -> None:
        self._core.failed()
        self._look()

    def _closed(self) -> None:
        self._core.close()
        self._look()

    def _look(self) -> None:
        """Act on a new status."""
        status = self._core.status
        if status is self._known_status:
            return
        self._known_status = status
        if status in (Status.READY, Status.ERROR, Status.CLOSED):
            self._settled.set()
        if self._status_listeners:
            self._client._dispatcher.post(lambda: self._tell_status(status))

    async def _tell_changes(self, changes: list[Change]) -> None:
        for change in changes:
            for listener in list(self._change_listeners):
                await self._client._dispatcher.call(listener, change)

    async def _tell_status(self, status: Status) -> None:
        for listener in list(self._status_listeners):
            await self._client._dispatcher.call(listener, status)
