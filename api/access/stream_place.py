"""Where a stream is opened: its path, and the page that opens it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

__all__ = ["StreamPlace"]

Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class StreamPlace:
    """`origin` is that of the page; None where no page opens the stream, or one of this server, whose name is `host`
    and which a browser marks (`is_same_origin`) instead of naming it: it sends no Origin with such a GET."""

    path: str
    origin: bytes | None = None
    host: bytes | None = None
    is_same_origin: bool = False

    @classmethod
    def of(cls, path: str, headers: Headers) -> Self:
        origin = host = None
        is_same_origin = False
        for name, value in headers:
            if name == b"origin":
                origin = value
            elif name == b"host":
                host = value
            elif name == b"sec-fetch-site":
                is_same_origin = value == b"same-origin"
        return cls(path, origin, host, is_same_origin)

    def is_of(self, origin: str) -> bool:
        """Whether a page of this origin, in lower case, opens the stream."""
        if self.origin is not None:
            return self.origin.lower() == origin.encode()
        _, _, authority = origin.encode().partition(b"://")
        return self.is_same_origin and self.host is not None and self.host.lower() == authority
