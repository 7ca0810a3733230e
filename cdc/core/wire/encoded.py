"""An encoded event, shared by all its subscribers.

Encoding is the most expensive step of delivery, so every format is encoded at its first use, and the text of a flag
once for all events of a commit that contain it.
"""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from ..flags.events import Event, EventType
from ..flags.flag import FlagJson, flag_outline
from ..flags.flag_bound import FlagBound
from ..log.position import EventId
from ..row_filter.row_filter import WHOLE, RowView
from ..steps import run_steps
from ..subscription.grant import Grant, View
from ..text.json_text import encode, encode_members
from .row_view import seen_event

__all__ = ["EncodedEvent", "EventFormat", "encode_commit", "event_object", "filter_for_grant"]

# Clients choose columns, so their number alone would not bound the memory of an event.
_MOST_VIEWS = 8

_FLAG_IS_DATA = frozenset(
    {EventType.FLAG_CREATED, EventType.FLAG_UPDATED, EventType.FLAG_ENABLED, EventType.FLAG_DISABLED}
)

# Events encoded in one step.
_TURN_EVENTS = 100


class EventFormat(Protocol):
    """The bytes of an event for some of its subscribers; equal formats give equal bytes."""

    def event(self, event: "EncodedEvent") -> bytes: ...

    def event_at(self, event: "EncodedEvent", sent_at: str) -> bytes:
        """The event with the time of sending."""


class EncodedEvent:
    """An event with its encodings, each made once; share it, never copy it.

    `siblings` are the events of its flag in its commit, `first` holds the commit's first event about a flag, for
    dialects that send one message per flag or per commit. A client cannot resume after an event without an id.
    """

    __slots__ = (
        "_departure",
        "_detail",
        "_flag_text",
        "_framed",
        "_sse_enveloped",
        "_sse_plain",
        "_stamped",
        "_text",
        "_views",
        "event",
        "first",
        "id",
        "siblings",
    )

    def __init__(
        self,
        event: Event,
        flag_text: str | None = None,
        siblings: Sequence[Event] = (),
        first: Sequence[Event] = (),
        *,
        has_id: bool = True,
    ) -> None:
        self.event = event
        self.siblings = siblings
        self.first = first
        self.id = str(event.id) if has_id else ""
        self._flag_text = encode(event.flag) if flag_text is None and event.flag is not None else flag_text
        self._departure: EncodedEvent | None = None
        self._views: dict[RowView, EncodedEvent] | None = None
        self._detail: str | None = None
        self._text: str | None = None
        self._sse_plain: bytes | None = None
        self._sse_enveloped: bytes | None = None
        self._framed: dict[EventFormat, bytes] = {}
        self._stamped: tuple[str, dict[EventFormat, bytes]] = ("", {})

    @property
    def event_id(self) -> EventId:
        return self.event.id

    @property
    def size_bytes(self) -> int:
        """The approximate size of one encoding; flag and detail are the largest part of each."""
        return len(self._flag_text or "") + len(self._detail_text()) + 512

    @property
    def text(self) -> str:
        """The event object: a WebSocket message, an item of a `batch`, the data of an enveloped SSE event."""
        if self._text is None:
            head = {"type": self.event.type, "id": self.id} if self.id else {"type": self.event.type}
            self._text = self._object(head, with_schema=True)
        return self._text

    @property
    def data(self) -> str:
        """The data of an SSE event without envelope: the flag itself if it was created or changed, else the details."""
        event = self.event
        if event.type is EventType.FLAG_DELETED:
            return encode({"key": event.flag_key, "id": event.flag_id})
        if event.type in _FLAG_IS_DATA and self._flag_text is not None:
            return self._flag_text
        return self._object({}, with_schema=False)

    def sse(self, *, envelope: bool = False) -> bytes:
        """The whole SSE block, including the empty line."""
        if envelope:
            if self._sse_enveloped is None:
                self._sse_enveloped = self._block(self.text)
            return self._sse_enveloped
        if self._sse_plain is None:
            self._sse_plain = self._block(self.data)
        return self._sse_plain

    def departure(self) -> "EncodedEvent":
        """The event as a deletion, for subscribers whose grant does not cover the flag after the commit."""
        if self._departure is None:
            gone = replace(self.event, type=EventType.FLAG_DELETED, flag=None, detail={})
            self._departure = EncodedEvent(gone)
        return self._departure

    def seen_as(self, view: RowView) -> "EncodedEvent":
        """The event as filters of rows make it: encoded once for all who see it so."""
        if view is WHOLE:
            return self
        if self._views is None or len(self._views) >= _MOST_VIEWS:
            self._views = {}
        seen = self._views.get(view)
        if seen is None:
            event = seen_event(self.event, view)
            seen = self._views[view] = self if event is self.event else EncodedEvent(event, has_id=bool(self.id))
        return seen

    def framed(self, format: EventFormat) -> bytes:
        """The bytes for every subscriber of a format."""
        data = self._framed.get(format)
        if data is None:
            data = self._framed[format] = format.event(self)
        return data

    def framed_at(self, format: EventFormat, sent_at: str) -> bytes:
        """The bytes with the time of sending, shared by all subscribers that it is sent to at that time."""
        if self._stamped[0] != sent_at:
            self._stamped = (sent_at, {})
        data = self._stamped[1].get(format)
        if data is None:
            data = self._stamped[1][format] = format.event_at(self, sent_at)
        return data

    def _block(self, data: str) -> bytes:
        # JSON on one line: line ends within strings are escapes, so data never needs to be split.
        id = f"id: {self.id}\n" if self.id else ""
        return f"event: {self.event.type}\n{id}data: {data}\n\n".encode()

    def _object(self, head: dict[str, Any], *, with_schema: bool) -> str:
        event = self.event
        if event.flag_id is not None:
            head["flagKey"] = event.flag_key
            head["flagID"] = event.flag_id
        if with_schema:
            head["schema"] = event.schema
        head["committedAt"] = event.committed_at
        text = encode(head)
        if self._flag_text is not None:
            text = f'{text[:-1]},"flag":{self._flag_text}}}'
        if event.detail:
            text = f"{text[:-1]},{self._detail_text()[1:]}"
        return text

    def _detail_text(self) -> str:
        if self._detail is None:
            self._detail = encode_members(self.event.detail)
        return self._detail


def event_object(event: Event) -> str:
    """The event object of an event with a single receiver."""
    return EncodedEvent(event).text


def encode_commit(events: Iterable[Event], bound: FlagBound) -> list[EncodedEvent]:
    """The events of one commit, which share the texts of their flags; a flag beyond the bound is sent reduced."""
    return run_steps(encode_in_turns(events, bound))


def encode_in_turns(
    events: Iterable[Event], bound: FlagBound, *, in_outline: bool = False
) -> Generator[None, None, list["EncodedEvent"]]:
    """The same in steps of a few milliseconds. `in_outline`: the encoded events keep of their flags, beside the text,
    only what they are selected by, a tenth of the memory."""
    texts: dict[int, tuple[FlagJson, str]] = {}  # by identity: the events keep the flags alive
    siblings: list[Event] = []
    flag_texts: list[str | None] = []
    for count, event in enumerate(events, 1):
        if count % _TURN_EVENTS == 0:
            yield
        flag, text = event.flag, None
        if flag is not None:
            if id(flag) not in texts:
                texts[id(flag)] = bound.sent_with_text(flag)
            sent, text = texts[id(flag)]
            if sent is not flag:
                # Its parts may be as large. The whole flag must not be kept in memory with the event either.
                detail = {name: part for name, part in event.detail.items() if bound.fits(part)}
                event = replace(event, flag=sent, detail=detail)
            if in_outline:
                event = replace(event, flag=flag_outline(flag))
        siblings.append(event)
        flag_texts.append(text)
    # Each flag's own: with all of the commit, a message per commit and flag would compare every event with every other.
    of_flags: dict[tuple[str, int], list[Event]] = {}
    first: tuple[Event, ...] = ()
    for count, event in enumerate(siblings, 1):
        if count % (_TURN_EVENTS * 8) == 0:
            yield
        if event.flag_id is not None:
            first = first or (event,)
            of_flags.setdefault((event.schema, event.flag_id), []).append(event)
    encoded: list[EncodedEvent] = []
    for count, (event, text) in enumerate(zip(siblings, flag_texts, strict=True), 1):
        if count % (_TURN_EVENTS * 8) == 0:
            yield
        own = () if event.flag_id is None else of_flags[event.schema, event.flag_id]
        encoded.append(EncodedEvent(event, text, own, first))
    return encoded


def filter_for_grant(grant: Grant, events: Sequence[EncodedEvent]) -> list[EncodedEvent]:
    """The selected events as a grant allows them; a flag that leaves the grant is deleted, once per commit."""
    visible: list[EncodedEvent] = []
    gone: tuple[int, str, int | None] | None = None
    for encoded in events:
        event = encoded.event
        if grant.view(event) is View.WHOLE:
            visible.append(encoded)
            continue
        leaving = (event.id.position, event.schema, event.flag_id)
        if leaving != gone:
            visible.append(encoded.departure())
            gone = leaving
    return visible
