"""A snapshot or resync on its way to subscribers: one message of any size, in pieces that are made when they are sent.

A piece is one chunk of flags, framed. To make one takes a few milliseconds at most, and that only if its flags have not
been encoded yet: so a snapshot of a hundred thousand flags delays no other client, and what a subscriber that
reads slowly keeps in memory is the list of chunks.
"""

from ..core.wire.format import Format
from ..core.wire.selected_flags import SelectedFlags

__all__ = ["SnapshotMessage"]

# Messages of at most so many pieces keep them, so that ten thousand subscribers that reconnect share their bytes. The
# pieces of larger ones are joined again for each, which takes less time than to hand them to the kernel.
_KEPT_PIECES = 24

# From this size on, the compressed flags are shared by messages that differ in what is around them.
_LARGE_BYTES = 1024


class SnapshotMessage:
    """The pieces must be asked for in order, by each reader; `before` and `after` are what the flags stand between.

    A newer one replaces it.
    """

    __slots__ = ("_after", "_before", "_first", "_flags", "_format", "_kept", "count")

    def __init__(self, format: Format, before: bytes, flags: SelectedFlags | None = None, after: bytes = b"") -> None:
        self._format = format
        self._before = before
        self._flags = flags
        self._after = after
        self.count = 1 if flags is None else max(1, len(flags))
        self._first: int | None = None  # the first chunk that is not empty
        self._kept: list[bytes | None] | None = [None] * self.count if self.count <= _KEPT_PIECES else None

    def piece(self, place: int) -> bytes:
        """Framed bytes; empty where a chunk between the first and the last has no selected flag."""
        kept = self._kept
        if kept is None:
            return self._make(place)
        piece = kept[place]
        if piece is None:
            piece = kept[place] = self._make(place)
        return piece

    def _make(self, place: int) -> bytes:
        format, flags = self._format, self._flags
        if flags is None or not len(flags):
            return format.frame(self._before + self._after)
        if self.count == 1 and not (format.is_compressed and len(flags.text(0)) >= _LARGE_BYTES):
            return format.frame(self._before + flags.text(0) + self._after)
        is_first, is_last = place == 0, place == self.count - 1
        before, after = self._before if is_first else b"", self._after if is_last else b""
        body = flags.block(place) if format.is_compressed else flags.text(place)
        if body:
            if self._first is None:
                self._first = place
            elif self._first < place:
                before += b","
        return format.part(before, body, after, is_first=is_first, is_last=is_last)
