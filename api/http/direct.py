"""The contract between the protocol that reads requests and what answers some of them without ASGI."""

from collections.abc import Coroutine, Sequence
from typing import Any, NamedTuple, Protocol

from .answer import Pieces

__all__ = ["DirectHead", "DirectWay", "Written"]

Client = tuple[str, int] | None


class Written(NamedTuple):
    """An answer as it goes on the wire: `before` and `after` are the lines of its headers around the value of
    Content-Length, without Date and Connection; `after` is empty for an answer without a length.

    The connection is closed after a `is_failure`, the answer to a request that failed unexpectedly.
    """

    status: int
    before: bytes
    after: bytes
    body: bytes | Pieces
    is_failure: bool = False


class DirectHead(Protocol):
    """The head of a request that is answered here."""

    @property
    def content_length(self) -> int: ...
    @property
    def keep_alive(self) -> bool: ...
    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]: ...


class DirectWay(Protocol):
    """Answers requests to some paths, with the bytes of the ASGI application."""

    def head(self, data: bytes, /) -> Any | None:
        """A `DirectHead` for the bytes of a head; None if such a request is left to the application."""

    def begin(self, head: Any, client: Client, /) -> Any:
        """Count and authenticate a request whose body may still arrive; returns what `finish` needs, or the `Written`
        that refuses it."""

    def finish(self, head: Any, begun: Any, body: bytes, /) -> Written | Coroutine[Any, Any, Written]:
        """The answer to a complete request, now, or where it has to wait, when the coroutine ends."""
