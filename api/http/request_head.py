"""The head of a plain request, parsed once and reused for every request with the same bytes.

A client that keeps its connection sends nearly the same head each time, so most heads are found by their bytes. The
parser is that of uvicorn (httptools), with a fresh state for each head: the result is what uvicorn would read.

Plain is a request of HTTP/1.1 for a path of this server, whose body, if any, has a length. Everything else is left to
uvicorn: an upgrade, a chunked body, `Expect`, HTTP/1.0, a target with a host, and whatever is not valid.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import unquote

import httptools

__all__ = ["MAX_KNOWN_BYTES", "KnownHeads", "RequestHead", "parse_head"]

_MAX_HEADERS = 64

# Heads that are different each time, by a trace id for example, push the others out in the order of their arrival.
_KEPT = 256

MAX_KNOWN_BYTES = 2048
"""Longer heads are not kept."""

H = TypeVar("H")

# What makes a request more than its head and a body of known length.
_NOT_PLAIN = frozenset({b"transfer-encoding", b"upgrade", b"expect"})


@dataclass(frozen=True, slots=True, eq=False)
class RequestHead:
    """`path` is decoded, `query` is not; the names of `headers` are in lower case. `content_length` is 0 without the
    header."""

    method: str
    target: bytes
    path: str
    query: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    content_length: int
    keep_alive: bool


class _Reader:
    """Collects what the parser finds."""

    def __init__(self) -> None:
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.messages = self.heads = 0
        self.method = b""
        self.keep_alive = self.is_upgrade = False
        self.version = ""
        self.parser: Any = None

    def on_message_begin(self) -> None:
        self.messages += 1

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.heads += 1
        self.method = self.parser.get_method()
        self.keep_alive = self.parser.should_keep_alive()
        self.version = self.parser.get_http_version()
        self.is_upgrade = self.parser.should_upgrade()


def parse_head(data: bytes, *, is_upgrade: bool = False) -> RequestHead | None:
    """The head that these bytes are, up to and with the empty line; None if they are not that of one plain request, or
    of an upgrade where one is asked for."""
    reader = _Reader()
    parser = reader.parser = httptools.HttpRequestParser(reader)
    try:
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if upgrade.args[0] != len(data):
                return None
        if (
            (reader.version, reader.is_upgrade) != ("1.1", is_upgrade)
            or (reader.messages, reader.heads) != (1, 1)
            or len(reader.headers) > _MAX_HEADERS
        ):
            return None
        names = {name for name, _ in reader.headers}
        if is_upgrade:
            names.discard(b"upgrade")
        if not _NOT_PLAIN.isdisjoint(names) or not reader.target.startswith(b"/"):
            return None
        url = httptools.parse_url(reader.target)
        path = url.path.decode("ascii")
    except (httptools.HttpParserError, UnicodeDecodeError):
        return None
    finally:
        reader.parser = None  # or only the garbage collector would free the two
    length = next((int(value) for name, value in reader.headers if name == b"content-length"), 0)
    return RequestHead(
        reader.method.decode("ascii"),
        reader.target,
        unquote(path) if "%" in path else path,
        url.query or b"",
        tuple(reader.headers),
        length,
        reader.keep_alive,
    )


class KnownHeads(Generic[H]):
    """What `read` has made of heads, by their bytes; bounded. None is remembered, too."""

    def __init__(self, read: Callable[[bytes], H | None]) -> None:
        self._read = read
        self._heads: dict[bytes, H | None] = {}

    def find(self, data: bytes) -> H | None:
        try:
            return self._heads[data]
        except KeyError:
            pass
        head = self._read(data)
        if len(data) <= MAX_KNOWN_BYTES:
            if len(self._heads) >= _KEPT:
                del self._heads[next(iter(self._heads))]
            self._heads[data] = head
        return head
