"""Parses an event stream, including comments, which carry the server's freshness."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

__all__ = ["Block", "Blocks", "read_blocks"]


@dataclass(frozen=True, slots=True)
class Block:
    """The fields between two empty lines; None where a field was not sent.

    A block with only an `id` moves the resume position forward without an event.
    """

    event: str | None = None
    data: str | None = None
    id: str | None = None
    retry_ms: int | None = None
    comment: str | None = None


class Blocks:
    """Parses a stream in chunks and returns blocks as they complete; an unfinished last one is dropped, as the standard
    requires.

    Lines end at CR, LF or CRLF only (HTML standard, 9.2.5): `str.splitlines` would also split at characters that JSON
    may hold unescaped, such as U+2028.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._pieces: list[str] = []
        self._after_cr = False

    def feed(self, chunk: str) -> Iterator[Block]:
        """The blocks that end within this chunk."""
        for line in self._whole_lines(chunk):
            if line:
                self._lines.append(line)
            elif self._lines:
                lines, self._lines = self._lines, []
                yield _block(lines)

    def _whole_lines(self, chunk: str) -> Iterator[str]:
        # The LF of a CRLF may come in the next chunk.
        text = chunk[1:] if self._after_cr and chunk.startswith("\n") else chunk
        self._after_cr = chunk.endswith("\r") if chunk else self._after_cr
        first, *rest = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self._pieces.append(first)
        for piece in rest:
            whole, self._pieces = "".join(self._pieces), [piece]
            yield whole


def read_blocks(chunks: Iterable[str]) -> Iterator[Block]:
    """The blocks of a stream that arrives in chunks, as `Blocks` returns them."""
    blocks = Blocks()
    for chunk in chunks:
        yield from blocks.feed(chunk)


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
