"""Numbers as Java reads them, against what a real `Double.parseDouble` answered."""

import json
import struct
from pathlib import Path
from time import perf_counter

import pytest

from cdc.core.evaluation import parse_double

VECTORS: list[tuple[str, str | None]] = json.loads(
    (Path(__file__).parents[3] / "vectors" / "java_double.json").read_text("utf-8")
)


def bits(number: float | None) -> str | None:
    """The double's bits in hexadecimal, as Java prints them; every NaN is one."""
    if number is None:
        return None
    if number != number:
        return "7ff8000000000000"
    return f"{struct.unpack('>Q', struct.pack('>d', number))[0]:x}"


def test_every_text_is_the_number_that_java_reads() -> None:
    assert [(text, bits(parse_double(text))) for text, _ in VECTORS] == [tuple(vector) for vector in VECTORS]


@pytest.mark.parametrize("text", ["1" * 200_000 + "x", "1." + "0" * 200_000 + "x", "0x" + "f" * 200_000, " " * 200_000])
def test_a_long_text_that_is_no_number_is_refused_in_one_pass(text: str) -> None:
    started = perf_counter()
    assert parse_double(text) is None
    assert perf_counter() - started < 1
