"""Compressed data in blocks that are made once and joined in any order (RFC 1951, RFC 1952).

>>> import gzip
>>> parts = [GzipPart.of(data) for data in (b"one ", b"two")]
>>> gzip.decompress(gzip_member(parts))
b'one two'
"""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

__all__ = ["COMMA", "GZIP_HEADER", "GzipMember", "GzipPart", "deflate_block", "gzip_member", "inflate_block"]

# RFC 1952: magic, method deflate, no flags, no time, no extra flags, unknown operating system.
GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"

# The last block of a deflate stream, without data.
_LAST = b"\x03\x00"

# The polynomial of CRC-32 and the polynomial 1, with their lowest powers first (the highest bit).
_POLYNOMIAL = 0xEDB88320
_ONE = 1 << 31


def deflate_block(data: bytes, level: int) -> bytes:
    """Byte-aligned deflate blocks without references to earlier data, so any decoder can append them."""
    compressor = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)


def inflate_block(block: bytes) -> bytes:
    """The data of `deflate_block`."""
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(block)


@dataclass(frozen=True, slots=True)
class GzipPart:
    """A part of the content of a gzip member: its block, and the CRC-32 and size of its data. `raw` is the data of a
    small one, which is not compressed."""

    block: bytes
    crc: int
    size_bytes: int
    raw: bytes = b""

    @classmethod
    def of(cls, data: bytes, level: int = 6) -> Self:
        return cls(deflate_block(data, level), zlib.crc32(data), len(data))

    @classmethod
    def small(cls, data: bytes) -> Self:
        return cls(deflate_block(data, 0), zlib.crc32(data), len(data), data)

    @property
    def data(self) -> bytes:
        return self.raw or inflate_block(self.block)


COMMA = GzipPart.small(b",")


class GzipMember:
    """One gzip member with the data of the parts that are added; nothing is compressed again."""

    def __init__(self) -> None:
        self._blocks = [GZIP_HEADER]
        self._crc = 0
        self._size_bytes = 0

    def add(self, part: GzipPart) -> None:
        self._blocks.append(part.block)
        # As zlib's crc32_combine: the CRC so far, shifted by the size of what follows. Takes 5 µs.
        self._crc = (
            zlib.crc32(part.raw, self._crc) if part.raw else _times(_shift(part.size_bytes), self._crc) ^ part.crc
        )
        self._size_bytes += part.size_bytes

    def data(self) -> bytes:
        """The whole member."""
        crc, size_bytes = self._crc.to_bytes(4, "little"), (self._size_bytes & 0xFFFFFFFF).to_bytes(4, "little")
        return b"".join([*self._blocks, _LAST, crc, size_bytes])


def gzip_member(parts: Iterable[GzipPart]) -> bytes:
    """The gzip member of these parts."""
    member = GzipMember()
    for part in parts:
        member.add(part)
    return member.data()


def _times(a: int, b: int) -> int:
    """The product of two polynomials modulo that of CRC-32."""
    product = 0
    while a:
        if a & _ONE:
            product ^= b
        a = a << 1 & 0xFFFFFFFF
        b = b >> 1 ^ _POLYNOMIAL if b & 1 else b >> 1
    return product


@lru_cache(maxsize=16_384)
def _shift(size_bytes: int) -> int:
    """x to the power of the bits of so many bytes, modulo the polynomial of CRC-32."""
    power, square = _ONE, _ONE >> 8  # x^0, and x^8
    while size_bytes:
        if size_bytes & 1:
            power = _times(square, power)
        square = _times(square, square)
        size_bytes >>= 1
    return power
