"""A parser of server-sent events without I/O: bytes in, items out.

It follows the HTML Living Standard, section "Server-sent events" (interpreting an event stream), with two additions:
comments are returned, because keep-alives are comments, and a block with an id and no data is returned, because it
moves the resume id.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import Union

from .errors import MalformedMessage


@dataclass(frozen=True)
class SseEvent:
    """A dispatched event; ``last_event_id`` is the stream's id at that moment."""

    event: str
    data: str
    last_event_id: str


@dataclass(frozen=True)
class SseComment:
    """The text of a comment after its colon, one leading space removed."""

    text: str


@dataclass(frozen=True)
class SseRetry:
    """The reconnection time that the server requests, in milliseconds."""

    ms: int


@dataclass(frozen=True)
class SseId:
    """The end of a block with an id and no data: the resume id moved, no event is dispatched."""

    last_event_id: str


SseItem = Union[SseEvent, SseComment, SseRetry, SseId]

_LINE_END = re.compile("[\r\n]")
_DIGITS = re.compile("[0-9]+")


class SseParser:
    """Parses the bytes of one stream; each connection needs a new parser.

    An unfinished block at the end of the stream is discarded, so there is no ``close``. When a block exceeds
    *max_block_chars*, ``feed`` raises :exc:`MalformedMessage` and the parser is unusable.
    """

    def __init__(self, max_block_chars: int = 64 * 1024 * 1024) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._max_block_chars = max_block_chars
        self._at_start = True
        self._skip_lf = False
        self._line: list[str] = []
        self._block_chars = 0
        self._event = ""
        self._data: list[str] = []
        self._has_id = False
        self.last_event_id = ""

    def feed(self, chunk: bytes) -> list[SseItem]:
        """Parse the next bytes, split anywhere; returns the items that they complete, in order."""
        text = self._decoder.decode(chunk)
        if text and self._at_start:
            self._at_start = False
            text = text[1:] if text[0] == "\ufeff" else text
        items: list[SseItem] = []
        start = 0
        if text and self._skip_lf:
            # The CR of a CRLF ended the line at the end of the previous chunk.
            self._skip_lf = False
            start = 1 if text[0] == "\n" else 0
        while (match := _LINE_END.search(text, start)) is not None:
            end = match.start()
            self._line.append(text[start:end])
            self._grow(end - start)
            self._take("".join(self._line), items)
            self._line.clear()
            start = end + 1
            if text[end] == "\r":
                if start == len(text):
                    self._skip_lf = True
                elif text[start] == "\n":
                    start += 1
        if start < len(text):
            self._line.append(text[start:])
            self._grow(len(text) - start)
        return items

    def _grow(self, chars: int) -> None:
        self._block_chars += chars
        if self._block_chars > self._max_block_chars:
            raise MalformedMessage(f"an event is larger than max_message_bytes ({self._max_block_chars} characters)")

    def _take(self, line: str, items: list[SseItem]) -> None:
        if not line:
            self._dispatch(items)
            return
        name, colon, value = line.partition(":")
        if value.startswith(" "):
            value = value[1:]
        if colon and not name:
            items.append(SseComment(value))
            # A comment is complete by itself: a stream of comments only must not count as one endless block.
            self._block_chars -= len(line)
        elif name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id":
            if "\0" not in value:
                self.last_event_id = value
                self._has_id = True
        elif name == "retry" and _DIGITS.fullmatch(value):
            items.append(SseRetry(int(value[:12])))

    def _dispatch(self, items: list[SseItem]) -> None:
        if self._data:
            items.append(SseEvent(self._event or "message", "\n".join(self._data), self.last_event_id))
        elif self._has_id:
            items.append(SseId(self.last_event_id))
        self._event = ""
        self._data = []
        self._has_id = False
        self._block_chars = 0
