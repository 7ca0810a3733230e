"""A complete answer to a request, before the headers that every response gets."""

from collections.abc import Iterable
from typing import NamedTuple

from .problem import Problem

__all__ = ["JSON_TYPE", "WITHOUT_CONTENT", "Answer", "Pieces", "json_answer", "problem_answer"]

Header = tuple[bytes, bytes]

JSON_TYPE: Header = (b"content-type", b"application/json")

_JSON: tuple[Header, ...] = (JSON_TYPE,)

# RFC 9110, section 6.4.1: these have no content, and so no length.
WITHOUT_CONTENT = (204, 304)


class Pieces:
    """A body too large for one write: its parts, which others are served between, and their size in total."""

    __slots__ = ("parts", "size_bytes")

    def __init__(self, parts: Iterable[bytes], size_bytes: int) -> None:
        self.parts = parts
        self.size_bytes = size_bytes

    def __len__(self) -> int:
        return self.size_bytes


class Answer(NamedTuple):
    """`headers` are without Content-Length, their names in lower case."""

    status: int
    headers: tuple[Header, ...]
    body: bytes | Pieces

    def with_length(self) -> list[Header]:
        """The headers, Content-Length last."""
        if self.status in WITHOUT_CONTENT:
            return list(self.headers)
        return [*self.headers, (b"content-length", b"%d" % len(self.body))]


def json_answer(body: str, *headers: Header, status: int = 200) -> Answer:
    """An answer of JSON; half a surrogate pair becomes `?`."""
    # `tuple.__new__` takes half the time of the constructor.
    fields = (status, (*_JSON, *headers) if headers else _JSON, body.encode("utf-8", "replace"))
    return tuple.__new__(Answer, fields)


def problem_answer(problem: Problem) -> Answer:
    return Answer(problem.status, tuple(problem.headers()), problem.body())
