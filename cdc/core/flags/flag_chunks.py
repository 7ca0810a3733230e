"""The live flags of a schema in the order of their ids, in chunks of a few dozen.

Whatever lists all flags (a snapshot, a resync, the export, `/flags`) is a join of chunks, which are encoded and
compressed once and shared by all readers. A change of a flag replaces its chunk alone, so that it costs the same
whatever the number of flags. A reader that takes long keeps the chunks as they were when it began.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Mapping
from typing import Any, Self, TypeVar

from .stored_flag import StoredFlag

__all__ = ["MOST_FLAGS", "FlagChunk", "FlagChunks"]

MOST_FLAGS = 48
"""Flags in a chunk: to render, encode and compress as many, of a kilobyte of JSON each, takes a few milliseconds."""


T = TypeVar("T")


class FlagChunk:
    """Flags that follow each other; immutable. `encodings` remembers what was made of them, by any key."""

    __slots__ = ("_encodings", "flags")

    def __init__(self, flags: tuple[StoredFlag, ...]) -> None:
        self.flags = flags
        self._encodings: dict[object, Any] | None = None

    def encoded(self, name: object, encode: Callable[[], T]) -> T:
        """What `encode` makes of this chunk, made at its first use under this name."""
        if self._encodings is None:
            self._encodings = {}
        data: T | None = self._encodings.get(name)
        if data is None:
            data = self._encodings[name] = encode()
        return data

    def keep(self, name: object, data: object) -> None:
        """Remember under this name what was made in turns."""
        self.encoded(name, lambda: data)

    def has_encoded(self, name: object) -> bool:
        """Whether `encoded` costs nothing."""
        return self._encodings is not None and name in self._encodings


class _Block:
    """The ids of one chunk, and the chunk once it was asked for."""

    __slots__ = ("chunk", "ids")

    def __init__(self, ids: list[int], chunk: FlagChunk | None = None) -> None:
        self.ids = ids
        self.chunk = chunk

    def copy(self) -> "_Block":
        return _Block(self.ids.copy(), self.chunk)


class FlagChunks:
    """Ids in order; `chunks` makes of them what readers get."""

    __slots__ = ("_blocks", "_count", "_last_ids", "_view")

    def __init__(self) -> None:
        self._blocks: list[_Block] = []
        self._last_ids: list[int] = []  # of each block
        self._count = 0
        self._view: tuple[FlagChunk, ...] | None = None

    def __len__(self) -> int:
        """The number of flags."""
        return self._count

    def put(self, flag_id: int) -> None:
        """A flag is live, or has changed."""
        self._view = None
        place = bisect_left(self._last_ids, flag_id)
        if place == len(self._blocks):
            # Behind all others, where new flags go: blocks fill up instead of being split in the middle.
            if not self._blocks or len(self._blocks[-1].ids) >= MOST_FLAGS:
                self._blocks.append(_Block([]))
                self._last_ids.append(flag_id)
            place = len(self._blocks) - 1
            self._blocks[place].ids.append(flag_id)
            self._last_ids[place] = flag_id
            self._count += 1
        else:
            ids = self._blocks[place].ids
            at = bisect_left(ids, flag_id)
            if ids[at] != flag_id:
                insort(ids, flag_id)
                self._count += 1
        block = self._blocks[place]
        block.chunk = None
        if len(block.ids) > MOST_FLAGS:
            half = len(block.ids) // 2
            upper = _Block(block.ids[half:])
            del block.ids[half:]
            self._blocks.insert(place + 1, upper)
            self._last_ids.insert(place, block.ids[-1])

    def discard(self, flag_id: int) -> None:
        """A flag is not live any more, if it was."""
        place = bisect_left(self._last_ids, flag_id)
        if place == len(self._blocks):
            return
        block = self._blocks[place]
        at = bisect_left(block.ids, flag_id)
        if block.ids[at] != flag_id:
            return
        self._view = None
        self._count -= 1
        del block.ids[at]
        block.chunk = None
        if not block.ids:
            del self._blocks[place], self._last_ids[place]
            return
        self._last_ids[place] = block.ids[-1]
        # Two that have become small are one: many small chunks cost more to send.
        if place + 1 < len(self._blocks) and len(block.ids) + len(self._blocks[place + 1].ids) <= MOST_FLAGS // 2:
            after = self._blocks.pop(place + 1)
            block.ids.extend(after.ids)
            del self._last_ids[place]

    def chunks(self, flags: Mapping[int, StoredFlag]) -> tuple[FlagChunk, ...]:
        """The chunks in order, with the flags that have these ids; unchanged ones are the same objects as before."""
        if self._view is None:
            for block in self._blocks:
                if block.chunk is None:
                    block.chunk = FlagChunk(tuple([flags[flag_id] for flag_id in block.ids]))
            self._view = tuple([block.chunk for block in self._blocks if block.chunk is not None])
        return self._view

    def forget_encodings(self) -> None:
        """Drop all chunks: what was made of their flags is no longer true."""
        self._view = None
        for block in self._blocks:
            block.chunk = None

    def copy(self) -> Self:
        """An independent copy; chunks are shared."""
        twin = type(self)()
        twin._blocks = [block.copy() for block in self._blocks]
        twin._last_ids = self._last_ids.copy()
        twin._count = self._count
        twin._view = self._view
        return twin
