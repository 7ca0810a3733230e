"""An event as text, made once and shared by all who receive it.

Encoding costs more than anything else on an event's way, so every form is made when it is first asked for, and the
text of a flag is made once for all events of a commit that carry it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from ..flags.events import Event, EventType
from ..flags.flag import FlagJson
from ..log.position import EventId
from ..subscription.grant import Grant, View
from ..text.json_text import encode

__all__ = ["EncodedEvent", "EventFormat", "encode_commit", "event_object", "filter_for_grant"]

_FLAG_IS_DATA = frozenset(
    {EventType.FLAG_CREATED, EventType.FLAG_UPDATED, EventType.FLAG_ENABLED, EventType.FLAG_DISABLED}
)


class _FlagText:
    """The text of one flag, shared by the events of a commit."""

    __slots__ = ("flag", "text")

    def __init__(self, flag: FlagJson) -> None:
        self.flag = flag
        self.text: str | None = None

    def get(self) -> str:
        if self.text is None:
            self.text = encode(self.flag)
        return self.text


class EventFormat(Protocol):
    """In which bytes an event is sent to some of its subscribers; equal forms make equal bytes."""

    def event(self, event: "EncodedEvent") -> bytes: ...

    def event_at(self, event: "EncodedEvent", sent_at: str) -> bytes:
        """The event with the time of sending."""


class EncodedEvent:
    """An event with its forms on the wire, each made once; share it, never copy it.

    `siblings` are all events of its commit: some dialects tell a commit as one. Who has come to an event without an id
    cannot resume after it.
    """

    __slots__ = (
        "_departure",
        "_detail",
        "_flag",
        "_framed",
        "_sse_enveloped",
        "_sse_plain",
        "_stamped",
        "_text",
        "event",
        "id",
        "siblings",
    )

    def __init__(
        self, event: Event, flag: _FlagText | None = None, siblings: Sequence[Event] = (), *, has_id: bool = True
    ) -> None:
        self.event = event
        self.siblings = siblings
        self.id = str(event.id) if has_id else ""
        self._flag = _FlagText(event.flag) if flag is None and event.flag is not None else flag
        self._departure: EncodedEvent | None = None
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
        """About what one form of it takes; the flag and the detail are the largest part of every one."""
        return (0 if self._flag is None else len(self._flag.get())) + len(self._detail_text()) + 512

    @property
    def text(self) -> str:
        """The event object: a WebSocket message, an item of a batch, the data of an enveloped SSE event."""
        if self._text is None:
            head = {"type": self.event.type, "id": self.id} if self.id else {"type": self.event.type}
            self._text = self._object(head, with_schema=True)
        return self._text

    @property
    def data(self) -> str:
        """What SSE carries without an envelope: the flag itself where it is the news, else what happened to it."""
        event = self.event
        if event.type is EventType.FLAG_DELETED:
            return encode({"key": event.flag_key, "id": event.flag_id})
        if event.type in _FLAG_IS_DATA and self._flag is not None:
            return self._flag.get()
        return self._object({}, with_schema=False)

    def sse(self, *, envelope: bool = False) -> bytes:
        """The whole SSE block, empty line included."""
        if envelope:
            if self._sse_enveloped is None:
                self._sse_enveloped = self._block(self.text)
            return self._sse_enveloped
        if self._sse_plain is None:
            self._sse_plain = self._block(self.data)
        return self._sse_plain

    def departure(self) -> "EncodedEvent":
        """The same as a deletion: for those who may not see what the flag has become."""
        if self._departure is None:
            gone = replace(self.event, type=EventType.FLAG_DELETED, flag=None, detail={})
            self._departure = EncodedEvent(gone)
        return self._departure

    def framed(self, form: EventFormat) -> bytes:
        """What is written to every subscriber of a form."""
        data = self._framed.get(form)
        if data is None:
            data = self._framed[form] = form.event(self)
        return data

    def framed_at(self, form: EventFormat, sent_at: str) -> bytes:
        """The same with the time of sending; shared by all to whom it is sent at that time."""
        if self._stamped[0] != sent_at:
            self._stamped = (sent_at, {})
        data = self._stamped[1].get(form)
        if data is None:
            data = self._stamped[1][form] = form.event_at(self, sent_at)
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
        if self._flag is not None:
            text = f'{text[:-1]},"flag":{self._flag.get()}}}'
        if event.detail:
            text = f"{text[:-1]},{self._detail_text()[1:]}"
        return text

    def _detail_text(self) -> str:
        if self._detail is None:
            self._detail = encode(self.event.detail)
        return self._detail


def event_object(event: Event) -> str:
    """The event object of one event that nobody else is told of."""
    return EncodedEvent(event).text


def encode_commit(events: Iterable[Event]) -> list[EncodedEvent]:
    """The events of one commit, ready to be encoded, sharing the texts of their flags."""
    flags: dict[int, _FlagText] = {}  # by identity: the events hold the flags, so none is freed meanwhile
    encoded = []
    siblings = tuple(events)
    for event in siblings:
        flag = None
        if event.flag is not None:
            flag = flags.setdefault(id(event.flag), _FlagText(event.flag))
        encoded.append(EncodedEvent(event, flag, siblings))
    return encoded


def filter_for_grant(grant: Grant, events: Sequence[EncodedEvent]) -> list[EncodedEvent]:
    """Events that were selected within a grant, as its holder is told of them: a flag that has left is deleted once."""
    told: list[EncodedEvent] = []
    gone: tuple[int, str, int | None] | None = None
    for encoded in events:
        event = encoded.event
        if grant.view(event) is View.WHOLE:
            told.append(encoded)
            continue
        leaving = (event.id.position, event.schema, event.flag_id)
        if leaving != gone:
            told.append(encoded.departure())
            gone = leaving
    return told
