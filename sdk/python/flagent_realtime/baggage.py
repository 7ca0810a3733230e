"""Carries the position of the flags from service to service, in the W3C header ``baggage``.

A service that changed a flag, or decided by one, tells the next service how new its flags must be::

    app.add_middleware(FlagentBaggage, store=store, timeout=0.5)     # FastAPI, Starlette, any ASGI framework
    httpx.post(url, headers=baggage_headers(store))                  # to the next service

Specification: https://www.w3.org/TR/baggage/
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextvars import ContextVar
from typing import Any, Protocol
from urllib.parse import quote

from ._event_id import compare_event_ids, parse_event_id
from .errors import FlagentError

__all__ = [
    "MEMBER",
    "FlagentBaggage",
    "baggage_headers",
    "current_position",
    "inject",
    "read_position",
    "write_position",
]

MEMBER = "flagent-position"
MAX_HEADER_BYTES = 8192
MAX_MEMBERS = 64
MAX_VALUE = 256

# What needs no escape besides letters and digits: `baggage-octet` without the percent sign.
_SAFE = "!#$&'()*+-./:<=>?@[]^_`{|}~"
_DIGITS = re.compile("[0-9]{1,19}")
_ESCAPE = re.compile(b"%([0-9A-Fa-f]{2})?")

current_position: ContextVar[str | None] = ContextVar("flagent_position", default=None)
"""What the present request has brought: an event id or a position; ``None`` when it brought none."""


def read_position(header: str | None) -> str | None:
    """The event id or position in a header ``baggage``; ``None`` when there is none that can be read.

    Of several, the highest of the log of the first one.
    """
    found: str | None = None
    for member in (header or "").split(","):
        value = _value(member)
        if value is not None and (found is None or _is_higher(value, found)):
            found = value
    return found


def write_position(header: str | None, value: str | None) -> str | None:
    """The header with our member, whose value is *value*, or what the header has where that is higher in the same log.

    Other members stay. A header that would become too long stays as it is, and so does one without *value*.
    """
    if value is None:
        return header
    present = read_position(header)
    if present is not None and _is_higher(present, value):
        value = present
    members = [member.strip(" \t") for member in (header or "").split(",")]
    others = [member for member in members if member and member.partition("=")[0].strip(" \t") != MEMBER]
    written = ",".join([*others, f"{MEMBER}={quote(value, safe=_SAFE)}"])
    if len(others) >= MAX_MEMBERS or len(written.encode("utf-8", "surrogatepass")) > MAX_HEADER_BYTES:
        return header
    return written


def baggage_headers(store: HasPosition | None = None, header: str | None = None) -> dict[str, str]:
    """The header for a request to another service: the newest of what the store holds and what this request brought.

    *header* is the request's own ``baggage``, whose other members are kept.
    """
    written = write_position(header, current_position.get())
    written = write_position(written, None if store is None else store.last_event_id)
    return {} if written is None else {"baggage": written}


class HasPosition(Protocol):
    """A store of flags, synchronous or not."""

    @property
    def last_event_id(self) -> str | None:
        """The event id up to which the store is complete."""

    def wait_for(self, position: int | str, timeout: float | None = None) -> Any:
        """Wait until the store is complete up to a position."""


Scope = MutableMapping[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]


class FlagentBaggage:
    """ASGI middleware: puts the position that a request brings into :data:`current_position`.

    With *store*, the request waits until the store has reached it, *timeout* seconds at most; after that it goes on
    with the flags that there are. A value that cannot be read, or is of another log, is ignored.
    """

    def __init__(self, app: App, store: HasPosition | None = None, timeout: float = 1.0) -> None:
        self._app = app
        self._store = store
        self._timeout = timeout

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = [value for name, value in scope.get("headers", ()) if name.lower() == b"baggage"]
        position = read_position(b",".join(headers).decode("latin-1"))
        token = current_position.set(position)
        try:
            if position is not None and self._store is not None:
                await self._wait(self._store, position)
            await self._app(scope, receive, send)
        finally:
            current_position.reset(token)

    async def _wait(self, store: HasPosition, position: str) -> None:
        try:
            if inspect.iscoroutinefunction(store.wait_for):
                await store.wait_for(position, self._timeout)
            else:
                await asyncio.to_thread(store.wait_for, position, self._timeout)
        except (FlagentError, ValueError):
            # Late, of another log, or a store that is not updated any more: its status says so to the application.
            return


def inject(headers: Mapping[str, str], store: HasPosition | None = None) -> dict[str, str]:
    """A copy of a request's headers with ours."""
    own = next((value for name, value in headers.items() if name.lower() == "baggage"), None)
    rest = {name: value for name, value in headers.items() if name.lower() != "baggage"}
    return {**rest, **baggage_headers(store, own)}


def _value(member: str) -> str | None:
    name, equals, rest = member.partition("=")
    if not equals or name.strip(" \t") != MEMBER:
        return None
    value = _decode(rest.partition(";")[0].strip(" \t"))
    if value is None or len(value) > MAX_VALUE:
        return None
    return value if _DIGITS.fullmatch(value) or parse_event_id(value) is not None else None


def _decode(text: str) -> str | None:
    """Percent-decoded; ``None`` when an escape is broken, or the bytes are not UTF-8."""
    raw = text.encode("utf-8", "surrogatepass")
    if any(match[1] is None for match in _ESCAPE.finditer(raw)):
        return None
    try:
        return _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), raw).decode()
    except UnicodeDecodeError:
        return None


def _is_higher(value: str, other: str) -> bool:
    if _DIGITS.fullmatch(value) and _DIGITS.fullmatch(other):
        return int(value) > int(other)
    return compare_event_ids(value, other) == 1
