"""A large snapshot in pieces: together they are one message, in every format."""

import json
import zlib
from typing import Any

import pytest

from cdc.core.subscription.grant import Grant
from cdc.core.subscription.selection import Selection, Selections
from cdc.core.wire.dialect import EVENTS, MESSAGES
from cdc.core.wire.format import GZIP_HEADER, Format
from cdc.core.wire.selected_flags import SelectedFlags
from cdc.fanout.snapshot_message import SnapshotMessage
from tests.cdc.core.flagent import Observed

EVERYTHING = Selections((Selection.of(),))
# Selected flags in the middle alone: chunks without any come first, in between and last.
SOME = Selections((Selection.of().within(Grant.parse({"flags": ["k70", "k71", "k190"]})),))
NONE = Selections((Selection.of().within(Grant.parse({"flags": ["x"]})),))


def observed(count: int) -> Observed:
    observed = Observed()
    for number in range(count):
        observed.flagent.flag(f"k{number}", description="ü" * 30)
    observed.commit()
    return observed


def unchunked(data: bytes) -> bytes:
    found = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        assert length > 0, "an empty chunk would end the response"
        assert data[length : length + 2] == b"\r\n"
        found, data = found + data[:length], data[length + 2 :]
    return found


def one_message(data: bytes) -> bytes:
    """The payload of a message in fragments, as RFC 6455 and RFC 7692 read it."""
    payload, is_first, is_compressed, is_final = b"", True, False, False
    while data:
        assert not is_final, "nothing comes after the last fragment"
        opcode, is_final = data[0] & 0x0F, bool(data[0] & 0x80)
        assert opcode == (1 if is_first else 0)
        if is_first:
            is_compressed = bool(data[0] & 0x40)
        else:
            assert not data[0] & 0x40
        length, at = data[1], 2
        if length >= 126:
            at += 2 if length == 126 else 8
            length = int.from_bytes(data[2:at], "big")
        payload, data, is_first = payload + data[at : at + length], data[at + length :], False
    assert is_final
    if is_compressed:
        payload = zlib.decompressobj(-zlib.MAX_WBITS).decompress(payload + b"\x00\x00\xff\xff")
    return payload


def plain(format: Format, pieces: list[bytes]) -> bytes:
    data = b"".join(pieces)
    if format.is_chunked:
        data = unchunked(data)
    if format.coding == "gzip":
        return zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(GZIP_HEADER + data)
    if format.transport == "websocket" and format.is_framed:
        return one_message(data)
    return data


FORMATS = {
    "SSE": Format(EVENTS),
    "SSE in chunks": Format(EVENTS, is_chunked=True),
    "SSE with gzip": Format(EVENTS, "gzip", is_chunked=True),
    "WebSocket": Format(MESSAGES),
    "WebSocket with deflate": Format(MESSAGES, "deflate"),
    "lines": Format(MESSAGES, is_framed=False),
}


def read(message: SnapshotMessage) -> list[bytes]:
    return [message.piece(place) for place in range(message.count)]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(("count", "selections"), [(1, EVERYTHING), (200, EVERYTHING), (200, SOME), (200, NONE)])
@pytest.mark.parametrize("kept", [24, 0])
def test_the_pieces_are_one_message(
    name: str, count: int, selections: Selections, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdc.fanout.snapshot_message._KEPT_PIECES", kept)
    format, flags = FORMATS[name], SelectedFlags(observed(count).catalog, selections)
    message = SnapshotMessage(format, b'{"flags":[', flags, b'],"end":true}')
    first = read(message)
    expected = b'{"flags":[' + flags.whole() + b'],"end":true}'
    assert plain(format, first) == expected + (b"\n" if name == "lines" else b"")
    assert read(message) == first
    document: Any = json.loads(expected)
    assert len(document["flags"]) == {EVERYTHING: count, SOME: 3, NONE: 0}[selections]


def test_small_messages_share_their_bytes_and_large_ones_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = SelectedFlags(observed(200).catalog, EVERYTHING)
    small = SnapshotMessage(FORMATS["SSE"], b"[", flags, b"]")
    assert all(one is other for one, other in zip(read(small), read(small), strict=True))
    monkeypatch.setattr("cdc.fanout.snapshot_message._KEPT_PIECES", 2)
    large = SnapshotMessage(FORMATS["SSE"], b"[", flags, b"]")
    assert read(large)[1] is not read(large)[1]


def test_a_message_without_flags_is_one_piece() -> None:
    message = SnapshotMessage(FORMATS["SSE"], b"event: x\n\n")
    assert read(message) == [b"event: x\n\n"]
