"""Subscriptions: who gets which events in which form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ._selection import Selection
from .events import Event, EventType
from .flags import Flag

if TYPE_CHECKING:
    from ._dispatcher import Dispatcher
    from ._subscription_registry import Subscribing

__all__ = ["Subscription"]

Handler = Callable[..., Any]


class Subscription:
    """A registered handler; ends with :meth:`unsubscribe`. This kind gets events."""

    def __init__(self, client: Subscribing, selection: Selection | None, handler: Handler, since: int) -> None:
        self._client = client
        self.selection = selection
        self.handler = handler
        self.since = since
        self.is_active = True

    def unsubscribe(self) -> None:
        """Stop: the handler is not called again. Idempotent."""
        if self.is_active:
            self.is_active = False
            self._client._forget(self)

    async def _deliver(self, dispatcher: Dispatcher, events: Sequence[Event], is_only: bool) -> None:
        """Hand over the events of one message; *is_only*: the connection receives for this selection alone."""
        for event in events:
            if self.is_active and (self.selection is None or self._takes(event, is_only)):
                await dispatcher.call(self.handler, event)

    def _takes(self, event: Event, is_only: bool) -> bool:
        selection = self.selection
        return selection is None or is_only or event.type is EventType.RESYNC or selection.matches(event)


class _FlagBook:
    """What a flag handler has last seen of each flag, so that it is called once per difference.

    Events name their schema, while snapshots of a server with one schema do not: there, the events' name stands for it.
    """

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._seen: dict[tuple[str, int], Flag] = {}
        self._schema = ""

    def take(self, event: Event, is_only: bool) -> tuple[list[Flag], list[str]]:
        """The flags to hand over, and the keys that are gone."""
        if event.type is EventType.RESYNC:
            return self._replace(event)
        if event.schema and not self._schema:
            self._schema = event.schema
            self._seen = {(schema or event.schema, number): flag for (schema, number), flag in self._seen.items()}
        identity = (event.schema or self._schema, event.flag_id or 0)
        known = self._seen.get(identity)
        if not (is_only or known is not None or self._selection.matches(event)):
            return [], []
        if event.type is EventType.FLAG_DELETED:
            if known is not None and known.key != event.flag_key:
                return [], []  # renamed: the new key was seen already
            self._seen.pop(identity, None)
            return [], [event.flag_key] if event.flag_key else []
        if event.flag is None or (known is not None and known.raw == event.flag.raw):
            return [], []
        if self._matches(event.flag):
            self._seen[identity] = event.flag
        else:
            self._seen.pop(identity, None)
        return [event.flag], []

    def _replace(self, event: Event) -> tuple[list[Flag], list[str]]:
        data = event.data if isinstance(event.data, tuple) else ()
        flags = [each for each in data if isinstance(each, Flag) and self._matches(each)]
        old, self._seen = self._seen, {(flag.schema or self._schema, flag.id): flag for flag in flags}
        fresh = [flag for identity, flag in self._seen.items() if identity not in old or old[identity].raw != flag.raw]
        keys = {flag.key for flag in flags}
        return fresh, [flag.key for flag in old.values() if flag.key not in keys]

    def _matches(self, flag: Flag) -> bool:
        selection = self._selection
        return (
            flag.key in selection.flags
            or flag.id in selection.flag_ids
            or not selection.tags.isdisjoint(flag.tag_values)
        )


class FlagSubscription(Subscription):
    """Gets flags: each one that differs from what this handler saw last. With tags, a list per message."""

    def __init__(
        self,
        client: Subscribing,
        selection: Selection,
        handler: Handler,
        since: int,
        on_deleted: Handler | None,
        as_list: bool,
    ) -> None:
        super().__init__(client, selection, handler, since)
        self._book = _FlagBook(selection)
        self._on_deleted = on_deleted
        self._as_list = as_list

    async def _deliver(self, dispatcher: Dispatcher, events: Sequence[Event], is_only: bool) -> None:
        flags: dict[tuple[str | None, int], Flag] = {}
        for event in events:
            changed, gone = self._book.take(event, is_only)
            for flag in changed:
                if self._as_list:
                    flags[flag.schema, flag.id] = flag
                elif self.is_active:
                    await dispatcher.call(self.handler, flag)
            for key in gone:
                if self._on_deleted is not None and self.is_active:
                    await dispatcher.call(self._on_deleted, key)
        if flags and self.is_active:
            await dispatcher.call(self.handler, list(flags.values()))
