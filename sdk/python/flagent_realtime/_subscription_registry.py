"""The subscriptions of a client, and the methods that make and end them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

from ._dispatcher import Dispatcher
from ._selection import EVERYTHING, Selection
from .events import EventType
from .subscriptions import EventSubscription, FlagSubscription, Subscription

Handler = Callable[..., Any]


class SubscriptionRegistry(ABC):
    """The part of a client that handlers are registered with.

    Handlers may be asynchronous. They are called one at a time and in order. Each method that registers one raises
    :exc:`ClientClosed` when the client is closed, and :exc:`ValueError` when one connection cannot select that much.
    """

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._subscriptions: list[Subscription] = []
        self._is_closed = False

    @abstractmethod
    def _check_open(self) -> None:
        """Raise :exc:`ClientClosed` or :exc:`ForkedClient`."""

    @abstractmethod
    def _check_selection(self, added: Selection) -> None:
        """Count *added* as selected; raise :exc:`ValueError` when the connection cannot select it as well."""

    @abstractmethod
    def _deselect(self, selection: Selection | None) -> None:
        """A subscription with this selection has ended."""

    @abstractmethod
    def _selection_changed(self) -> None:
        """Subscriptions or stores were added or removed."""

    def on_event(self, handler: Handler) -> Subscription:
        """Call *handler* with every :class:`FlagentEvent` that arrives.

        It selects nothing itself: it receives what the other subscriptions and the stores select, or everything when
        there are none.
        """
        return self._add(EventSubscription(self._forget, None, handler, self._dispatcher.posted))

    def on_error(self, handler: Handler) -> Callable[[], None]:
        """Call *handler* with each reported :exc:`FlagentError`. Returns a function that removes the handler."""
        self._dispatcher.add_error_handler(handler)
        return lambda: self._dispatcher.remove_error_handler(handler)

    def subscribe_flag(self, flag_key: str, handler: Handler, on_deleted: Handler | None = None) -> Subscription:
        """Call *handler* with the :class:`Flag` of a key after each change, and *on_deleted* with the key."""
        return self._add_flags(Selection(flags=frozenset({flag_key})), handler, on_deleted, as_list=False)

    def subscribe_tags(self, tags: Iterable[str], handler: Handler, on_deleted: Handler | None = None) -> Subscription:
        """Call *handler* with the list of changed flags that have any of *tags*, or had one before the change.

        *on_deleted* is called with the key of each deleted flag.
        """
        return self._add_flags(Selection(tags=frozenset(tags)), handler, on_deleted, as_list=True)

    def subscribe_all(self, handler: Handler) -> Subscription:
        """Call *handler* with every :class:`FlagentEvent` about a flag."""
        return self._add_events(EVERYTHING, handler)

    def subscribe_segments(self, handler: Handler) -> Subscription:
        """Call *handler* with the events of segments and distributions of every flag."""
        return self._add_events(Selection(segments=True), handler)

    def subscribe_tables(self, tables: Iterable[str], handler: Handler) -> Subscription:
        """Call *handler* with the row events of watched tables, named as in ``flagent-cdc watch``."""
        return self._add_events(Selection(tables=frozenset(tables)), handler)

    def subscribe_events(
        self,
        handler: Handler,
        *,
        flags: Iterable[str] = (),
        flag_ids: Iterable[int] = (),
        tags: Iterable[str] = (),
        tables: Iterable[str] = (),
        segments: bool = False,
        types: Iterable[EventType | str] = (),
        schemas: Iterable[str] = (),
    ) -> Subscription:
        """Call *handler* with the events of a selection.

        The selectors *flags* (keys), *flag_ids*, *tags*, *tables* and *segments* add up; without any of them every
        flag is selected. *types* and *schemas* narrow the result.
        """
        selection = Selection(
            False,
            frozenset(flags),
            frozenset(flag_ids),
            frozenset(tags),
            frozenset(tables),
            segments,
            frozenset(kind.value if isinstance(kind, EventType) else kind for kind in types),
            frozenset(schemas),
        )
        if selection.is_empty:
            selection = Selection(everything=True, types=selection.types, schemas=selection.schemas)
        return self._add_events(selection, handler)

    def unsubscribe(self, subscription: Subscription | str | None = None) -> None:
        """End a subscription, all subscriptions to a flag key, or (without argument) all subscriptions. Stores stay."""
        of_key = Selection(flags=frozenset({subscription})) if isinstance(subscription, str) else None
        for candidate in list(self._subscriptions):
            if subscription is None or candidate is subscription or (of_key and candidate.selection == of_key):
                candidate.unsubscribe()

    def _add_events(self, selection: Selection, handler: Handler) -> Subscription:
        return self._add(EventSubscription(self._forget, selection, handler, self._dispatcher.posted))

    def _add_flags(
        self, selection: Selection, handler: Handler, on_deleted: Handler | None, as_list: bool
    ) -> Subscription:
        since = self._dispatcher.posted
        return self._add(FlagSubscription(self._forget, selection, handler, since, on_deleted, as_list))

    def _add(self, subscription: Subscription) -> Subscription:
        self._check_open()
        if subscription.selection is not None:
            self._check_selection(subscription.selection)
        self._subscriptions.append(subscription)
        self._selection_changed()
        return subscription

    def _forget(self, subscription: Subscription) -> None:
        self._subscriptions.remove(subscription)
        self._deselect(subscription.selection)
