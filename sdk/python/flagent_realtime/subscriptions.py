"""Subscriptions: which events or flags a handler receives, and in which form."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from ._dispatcher import Dispatcher
from ._selection import Selection
from .events import EventType, FlagentEvent
from .flags import Flag

__all__ = ["Subscription"]

Handler = Callable[..., Any]
Forget = Callable[["Subscription"], None]


class Subscription(ABC):
    """A registered handler. :meth:`unsubscribe` ends it."""

    def __init__(self, forget: Forget, selection: Selection | None, handler: Handler, since: int) -> None:
        self.selection = selection
        """``None`` for ``on_event``, which selects nothing itself."""
        self.handler = handler
        self.since = since
        """The number of items queued before this subscription was made; it receives later ones only."""
        self.is_active = True
        self._forget = forget

    def unsubscribe(self) -> None:
        """End the subscription: the handler is not called again. Idempotent."""
        if self.is_active:
            self.is_active = False
            self._forget(self)

    @abstractmethod
    async def _deliver(self, dispatcher: Dispatcher, events: Sequence[FlagentEvent], is_only: bool) -> None:
        """Deliver the events of one message. *is_only*: the connection requested this selection and no other."""


class EventSubscription(Subscription):
    """Calls its handler with each event of its selection."""

    async def _deliver(self, dispatcher: Dispatcher, events: Sequence[FlagentEvent], is_only: bool) -> None:
        for event in events:
            if self.is_active and self._accepts(event, is_only):
                await dispatcher.call(self.handler, event)

    def _accepts(self, event: FlagentEvent, is_only: bool) -> bool:
        selection = self.selection
        return selection is None or is_only or event.type is EventType.RESYNC or selection.selects_event(event)


class SeenFlags:
    """The flags as a handler last saw them, so that it is called once per difference.

    Events name their schema. Snapshots of a server with one schema do not; there, the events' schema applies.
    """

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._seen: dict[tuple[str, int], Flag] = {}
        self._schema = ""

    def update(self, event: FlagentEvent, is_only: bool) -> tuple[list[Flag], list[str]]:
        """Apply an event; returns the flags to deliver and the keys of deleted flags."""
        if event.type is EventType.RESYNC:
            return self._replace(event)
        if event.schema and not self._schema:
            self._schema = event.schema
            self._seen = {(schema or event.schema, number): flag for (schema, number), flag in self._seen.items()}
        identity = (event.schema or self._schema, event.flag_id or 0)
        known = self._seen.get(identity)
        if not (is_only or known is not None or self._selection.selects_event(event)):
            return [], []
        if event.type is EventType.FLAG_DELETED:
            if known is not None and known.key != event.flag_key:
                return [], []  # a rename: the flag was delivered with its new key already
            self._seen.pop(identity, None)
            return [], [event.flag_key] if event.flag_key else []
        if event.flag is None or (known is not None and known.raw == event.flag.raw):
            return [], []
        if self._selection.selects_flag(event.flag.raw):
            self._seen[identity] = event.flag
        else:
            self._seen.pop(identity, None)
        return [event.flag], []

    def _replace(self, event: FlagentEvent) -> tuple[list[Flag], list[str]]:
        data = event.data if isinstance(event.data, tuple) else ()
        flags = [each for each in data if isinstance(each, Flag) and self._selection.selects_flag(each.raw)]
        old, self._seen = self._seen, {(flag.schema or self._schema, flag.id): flag for flag in flags}
        changed = [
            flag for identity, flag in self._seen.items() if identity not in old or old[identity].raw != flag.raw
        ]
        keys = {flag.key for flag in flags}
        return changed, [flag.key for flag in old.values() if flag.key not in keys]


class FlagSubscription(Subscription):
    """Calls its handler with each flag that differs from what the handler saw last.

    With *as_list*, the handler receives one list per message. *on_deleted* receives the keys of deleted flags.
    """

    def __init__(
        self,
        forget: Forget,
        selection: Selection,
        handler: Handler,
        since: int,
        on_deleted: Handler | None,
        as_list: bool,
    ) -> None:
        super().__init__(forget, selection, handler, since)
        self._seen = SeenFlags(selection)
        self._on_deleted = on_deleted
        self._as_list = as_list

    async def _deliver(self, dispatcher: Dispatcher, events: Sequence[FlagentEvent], is_only: bool) -> None:
        flags: dict[tuple[str | None, int], Flag] = {}
        for event in events:
            changed, deleted = self._seen.update(event, is_only)
            for flag in changed:
                if self._as_list:
                    flags[flag.schema, flag.id] = flag
                elif self.is_active:
                    await dispatcher.call(self.handler, flag)
            for key in deleted:
                if self._on_deleted is not None and self.is_active:
                    await dispatcher.call(self._on_deleted, key)
        if flags and self.is_active:
            await dispatcher.call(self.handler, list(flags.values()))
