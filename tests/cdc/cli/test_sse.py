"""Reading an event stream, however it is cut into pieces."""

import pytest

from cdc.cli.sse import Block, read_blocks

STREAM = (
    "retry: 2500\n\n"
    'event: connected\ndata: {"position":"7"}\n\n'
    ": keep-alive position=7 fresh=true ageMs=12\nid: 7@k7q2mx\n\n"
    'event: flag_updated\r\nid: 8-0@k7q2mx\r\ndata: {"a":\r\ndata: 1}\r\n\r\n'
    "data:x\rdata: y\r\r"
)
BLOCKS = [
    Block(retry_ms=2500),
    Block(event="connected", data='{"position":"7"}'),
    Block(id="7@k7q2mx", comment="keep-alive position=7 fresh=true ageMs=12"),
    Block(event="flag_updated", id="8-0@k7q2mx", data='{"a":\n1}'),
    Block(data="x\ny"),
]


def test_whole_stream() -> None:
    assert list(read_blocks([STREAM])) == BLOCKS


@pytest.mark.parametrize("size", [1, 2, 3, 5, 16])
def test_pieces_of_any_size_give_the_same_blocks(size: int) -> None:
    pieces = [STREAM[start : start + size] for start in range(0, len(STREAM), size)]
    assert list(read_blocks(pieces)) == BLOCKS


def test_an_unfinished_block_is_dropped() -> None:
    assert list(read_blocks(["data: a\n\ndata: b\n"])) == [Block(data="a")]


def test_characters_that_look_like_line_ends_stay_in_the_data() -> None:
    text = "a\u2028b\u0085c\x0bd\x0ce\x1cf"
    assert list(read_blocks([f"data: {text}\n\n"])) == [Block(data=text)]


def test_a_retry_that_is_no_number_is_ignored() -> None:
    assert list(read_blocks(["retry: soon\ndata: a\n\n"])) == [Block(data="a")]
