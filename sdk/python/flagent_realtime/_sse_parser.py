"""A server-sent events parser without I/O: feed bytes, get outputs.

It follows the HTML Living Standard, section "Server-sent events" (interpreting an event stream), with two additions
that the standard leaves to the reader: comments are reported, because keep-alives are comments, and a block that
carries an id but no data is reported, because it moves the resume id.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import Union

from .errors import ProtocolError


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
    """The server's wish for the reconnection time, in milliseconds."""

    ms: int


@dataclass(frozen=True)
class SseId:
    """A block with an id and no data has ended: the resume id moved, nothing is dispatched."""

    last_event_id: str


SseOutput = Union[SseEvent, SseComment, SseRetry, SseId]

_LINE_END = re.compile("[\r\n]")
_DIGITS = re.compile("[0-9]+")


class SseParser:
    """Turns the bytes of one stream into outputs; make a new one for every connection.

    An unfinished block at the end of the stream is discarded by never being reported, so there is no ``close``.
    :exc:`ProtocolError` is raised when one block grows over *max_block_chars*; the parser is unusable after that.
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

    def feed(self, chunk: bytes) -> list[SseOutput]:
        """Take the next bytes, cut anywhere, and return what they complete, in order."""
        text = self._decoder.decode(chunk)
        if text and self._at_start:
            self._at_start = False
            text = text[1:] if text[0] == "\ufeff" else text
        outputs: list[SseOutput] = []
        start = 0
        if text and self._skip_lf:
            # The CR of a CRLF ended the line at the end of the previous chunk.
            self._skip_lf = False
            start = 1 if text[0] == "\n" else 0
        while (match := _LINE_END.search(text, start)) is not None:
            end = match.start()
            self._line.append(text[start:end])
            self._grow(end - start)
            self._take("".join(self._line), outputs)
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
        return outputs

    def _grow(self, chars: int) -> None:
        self._block_chars += chars
        if self._block_chars > self._max_block_chars:
            raise ProtocolError(f"a block of the event stream is larger than {self._max_block_chars} characters")

    def _take(self, line: str, outputs: list[SseOutput]) -> None:
        if not line:
            self._dispatch(outputs)
            return
        name, colon, value = line.partition(":")
        if value.startswith(" "):
            value = value[1:]
        if colon and not name:
            outputs.append(SseComment(value))
            # A comment is complete by itself: a stream of nothing but comments must not count as one endless block.
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
            outputs.append(SseRetry(int(value[:12])))

    def _dispatch(self, outputs: list[SseOutput]) -> None:
        if self._data:
            outputs.append(SseEvent(self._event or "message", "\n".join(self._data), self.last_event_id))
        elif self._has_id:
            outputs.append(SseId(self.last_event_id))
        self._event = ""
        self._data = []
        self._has_id = False
        self._block_chars = 0
