"""Reading an event stream, comments included: they carry the server's word on its own freshness."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

__all__ = ["Block", "read_blocks"]


@dataclass(frozen=True, slots=True)
class Block:
    """What stands between two empty lines; None where a field was not sent.

    A block with an `id` and nothing else moves the resume point forward and tells nothing.
    """

    event: str | None = None
    data: str | None = None
    id: str | None = None
    retry_ms: int | None = None
    comment: str | None = None


def read_blocks(chunks: Iterable[str]) -> Iterator[Block]:
    """The blocks of a stream that arrives in pieces; an unfinished last one is dropped, as the standard demands.

    Lines end at CR, LF or CRLF only (HTML standard, 9.2.5): `str.splitlines` would also split at characters that JSON
    may hold unescaped, such as U+2028.
    """
    lines: list[str] = []
    for line in _lines(chunks):
        if line:
            lines.append(line)
        elif lines:
            yield _block(lines)
            lines = []


def _lines(chunks: Iterable[str]) -> Iterator[str]:
    pieces: list[str] = []
    after_cr = False
    for chunk in chunks:
        # The LF of a CRLF may come in the next chunk.
        text = chunk[1:] if after_cr and chunk.startswith("\n") else chunk
        after_cr = chunk.endswith("\r") if chunk else after_cr
        first, *rest = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        pieces.append(first)
        for piece in rest:
            yield "".join(pieces)
            pieces = [piece]


def _block(lines: list[str]) -> Block:
    fields: dict[str, list[str]] = {}
    for line in lines:
        name, _, value = line.partition(":")
        fields.setdefault(name, []).append(value.removeprefix(" "))

    def last(name: str) -> str | None:
        return fields[name][-1] if name in fields else None

    retry = last("retry")
    return Block(
        event=last("event"),
        data="\n".join(fields["data"]) if "data" in fields else None,
        id=last("id"),
        retry_ms=int(retry) if retry and retry.isascii() and retry.isdigit() else None,
        comment=last(""),
    )
