"""The largest flag that is sent to subscribers.

A flag is sent whole with each of its events and in every snapshot, and kept in memory for those that return. Any writer
may make one of a gigabyte. Beyond the bound its reduced form is sent instead: the same fields, so that every client can
read it, without what makes it large, and with `tooLarge`, its size. A client fetches the flag itself by its id.

>>> bound = FlagBound(300)
>>> small = {"id": 7, "key": "a", "notes": "x", "segments": [{"id": 1}], "tags": []}
>>> bound.sent(small) is small
True
>>> bound.sent({**small, "notes": "x" * 300})
{'id': 7, 'key': 'a', 'notes': None, 'segments': [], 'tags': [], 'tooLarge': 361}
"""

import zlib
from dataclasses import dataclass
from typing import Any

from ..text.json_text import encode
from .flag import FlagJson, canonical_text

__all__ = ["FlagBound"]

_MAX_TEXT = 256
_MAX_TAGS = 100

# A character takes at most four bytes in UTF-8: most flags need not be measured.
_CHARACTER_BYTES = 4

# What a description is where there is none; the other texts are null then.
_EMPTY = {"description": ""}


@dataclass(frozen=True, slots=True)
class FlagBound:
    """`max_bytes` is of a flag's canonical JSON in UTF-8."""

    max_bytes: int = 1024 * 1024

    def sent(self, flag: FlagJson) -> FlagJson:
        """The flag as subscribers get it: the same object within the bound."""
        return self.sent_with_text(flag)[0]

    def sent_with_text(self, flag: FlagJson) -> tuple[FlagJson, str]:
        """The same, and its JSON."""
        text = encode(flag)
        if len(text) * _CHARACTER_BYTES <= self.max_bytes:
            return flag, text
        size_bytes = len(canonical_text(flag).encode())
        if size_bytes <= self.max_bytes:
            return flag, text
        reduced = _reduced(flag, size_bytes)
        return reduced, encode(reduced)

    def crc(self, flag: FlagJson) -> int:
        """CRC-32 (IEEE) over the UTF-8 of the canonical text of the flag as subscribers get it."""
        canonical = canonical_text(flag).encode()
        if len(canonical) > self.max_bytes:
            canonical = canonical_text(_reduced(flag, len(canonical))).encode()
        return zlib.crc32(canonical)

    def fits(self, value: Any) -> bool:
        """Whether the JSON of a part of a flag is within the bound."""
        text = encode(value)
        return len(text) * _CHARACTER_BYTES <= self.max_bytes or len(text.encode()) <= self.max_bytes


def _reduced(flag: FlagJson, size_bytes: int) -> FlagJson:
    return {**{name: _small(name, value) for name, value in flag.items()}, "tooLarge": size_bytes}


def _small(name: str, value: Any) -> Any:
    if name == "tags":
        # Subscribers select by tags; no flag has so many.
        return value if len(value) <= _MAX_TAGS else []
    if name == "key":
        return value
    if isinstance(value, str):
        return value if len(value) <= _MAX_TEXT and name not in ("description", "notes") else _EMPTY.get(name)
    return [] if isinstance(value, list | tuple) else value
