"""JSON that is read and written again without a number losing a digit.

A float holds some seventeen digits and no trailing zero, PostgreSQL's `numeric` any number of both. What travels from
one place that keeps the text of rows to another one is read with `loads` and written with `dumps`.

>>> dumps(loads('{"a":1.10,"b":0.1234567890123456789012345678901234567890,"c":2,"d":"ü"}'))
'{"a":1.10,"b":0.1234567890123456789012345678901234567890,"c":2,"d":"ü"}'
"""

import json
import re
from dataclasses import dataclass
from itertools import count
from typing import Any

__all__ = ["Number", "dumps", "loads"]


@dataclass(frozen=True, slots=True)
class Number:
    """A number with a point or an exponent, as it was written."""

    text: str


_decode = json.JSONDecoder(parse_float=Number).decode


def loads(text: str | bytes) -> Any:
    """Raises `ValueError` for what is not JSON."""
    return _decode(text if isinstance(text, str) else text.decode())


class _Marking:
    """Writes a number as a text that begins with `mark`, and counts them."""

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self.count = 0

    def __call__(self, value: object) -> str:
        if not isinstance(value, Number):
            raise TypeError(f"{value!r} is not of JSON")
        self.count += 1
        return self._mark + value.text


def dumps(value: Any, separators: tuple[str, str] = (",", ":")) -> str:
    """As PostgreSQL's `to_json` writes a row: without blanks, and nothing escaped that need not be."""
    # The encoder has no way to write a text as it is, so each number is marked and its quotes are taken away again. A
    # mark is as many characters 0 as no other text begins with; hardly any text begins with one.
    for length in count(1):
        marking = _Marking("\0" * length)
        text = json.dumps(value, ensure_ascii=False, check_circular=False, separators=separators, default=marking)
        if not marking.count:
            return text
        text, found = re.subn(rf'"(?:\\u0000){{{length}}}([^"\\]*)"', r"\1", text)
        if found == marking.count:
            return text
    raise AssertionError("every length was tried")
