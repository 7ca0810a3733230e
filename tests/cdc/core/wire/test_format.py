import zlib

import pytest

from cdc.core.wire.dialect import EVENTS, MESSAGES
from cdc.core.wire.format import Format, websocket_frame

SMALL, LARGE = b"event: x\ndata: {}\n\n", b"event: x\ndata: " + b'{"a":"b"}' * 100 + b"\n\n"


def inflate(data: bytes, window: int) -> bytes:
    return zlib.decompressobj(window).decompress(data)


def test_plain_blocks_stay_as_they_are() -> None:
    assert Format(EVENTS).frame(SMALL) == SMALL
    assert Format(EVENTS).preamble() == b""


def test_a_chunk_says_its_size_in_hexadecimal() -> None:
    assert Format(EVENTS, is_chunked=True).frame(LARGE) == b"%x\r\n%b\r\n" % (len(LARGE), LARGE)


def test_gzip_pieces_of_any_size_join_into_one_stream() -> None:
    gzip = Format(EVENTS, coding="gzip")
    pieces = [gzip.frame(SMALL), gzip.frame(LARGE), gzip.frame(SMALL)]
    assert inflate(gzip.preamble() + b"".join(pieces), 16 + zlib.MAX_WBITS) == SMALL + LARGE + SMALL
    assert len(pieces[1]) < len(LARGE) / 5
    # A client that joins later gets the same shared pieces after a preamble of its own.
    assert inflate(gzip.preamble() + pieces[2] + pieces[1], 16 + zlib.MAX_WBITS) == SMALL + LARGE


def test_a_chunked_gzip_stream_begins_with_a_chunk() -> None:
    assert Format(EVENTS, coding="gzip", is_chunked=True).preamble().startswith(b"a\r\n\x1f\x8b")


@pytest.mark.parametrize(("size", "head"), [(125, 2), (126, 4), (65_535, 4), (65_536, 10)])
def test_a_frame_has_the_shortest_length_that_fits(size: int, head: int) -> None:
    frame = websocket_frame(b"x" * size)
    assert frame[0] == 0x81
    assert len(frame) == head + size
    length = frame[1] if head == 2 else int.from_bytes(frame[2:head], "big")
    assert length == size


@pytest.mark.parametrize(("opcode", "first"), [("text", 0x81), ("close", 0x88), ("ping", 0x89), ("pong", 0x8A)])
def test_a_frame_names_its_kind(opcode: str, first: int) -> None:
    assert websocket_frame(b"", opcode)[0] == first  # type: ignore[arg-type]


def test_large_messages_are_deflated_each_by_itself() -> None:
    deflate = Format(MESSAGES, coding="deflate")
    frame = deflate.frame(LARGE)
    assert frame[0] == 0xC1
    assert inflate(frame[2:] + b"\x00\x00\xff\xff", -zlib.MAX_WBITS) == LARGE
    assert deflate.frame(SMALL) == websocket_frame(SMALL)
    assert Format(MESSAGES).frame(LARGE) == websocket_frame(LARGE)


def test_a_server_below_may_make_the_frames() -> None:
    assert Format(MESSAGES, is_framed=False).frame(SMALL) == SMALL + b"\n"
