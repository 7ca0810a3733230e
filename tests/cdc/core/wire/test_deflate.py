"""Compressed blocks that any decoder takes, in any order."""

import gzip
import random
import zlib

import pytest

from cdc.core.wire.deflate import GzipPart, deflate_block, gzip_member, inflate_block


@pytest.mark.parametrize("sizes", [(), (0,), (1,), (1, 0, 300), (70_000, 5, 70_000, 1_000_003), (12,) * 500])
def test_a_member_is_what_compressing_all_of_it_would_be(sizes: tuple[int, ...]) -> None:
    rng = random.Random(1)
    data = [rng.randbytes(size // 2) + bytes(size - size // 2) for size in sizes]
    member = gzip_member([GzipPart.of(each) for each in data])
    assert gzip.decompress(member) == b"".join(data)
    # The decoders of browsers read one member and no more.
    decoder = zlib.decompressobj(16 + zlib.MAX_WBITS)
    assert decoder.decompress(member) + decoder.flush() == b"".join(data)
    assert decoder.eof
    assert not decoder.unused_data


def test_blocks_need_nothing_of_each_other() -> None:
    one, other = deflate_block(b"a" * 1_000, 6), deflate_block(b"a" * 999 + b"b", 6)
    decoder = zlib.decompressobj(-zlib.MAX_WBITS)
    assert decoder.decompress(other + one) == b"a" * 999 + b"b" + b"a" * 1_000
    assert inflate_block(one) == b"a" * 1_000
