"""JSON whose numbers keep every digit when read and written again.

A float holds about seventeen digits and no trailing zeros, PostgreSQL's `numeric` any number of both. Rows that pass
through this program as text are read with `loads` and written with `dumps`.

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
    """A number with a decimal point or an exponent, as text."""

    text: str


_decode = json.JSONDecoder(parse_float=Number).decode


def loads(text: str | bytes) -> Any:
    """Decode JSON; raises `ValueError` for invalid JSON."""
    return _decode(text if isinstance(text, str) else text.decode())


class _Marking:
    """Encodes a number as a string that starts with `mark`, and counts these strings."""

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self.count = 0

    def __call__(self, value: object) -> str:
        if not isinstance(value, Number):
            raise TypeError(f"{value!r} cannot be encoded as JSON")
        self.count += 1
        return self._mark + value.text


def dumps(value: Any, separators: tuple[str, str] = (",", ":")) -> str:
    """Encode as PostgreSQL's `to_json` encodes a row: no blanks, only the necessary escapes."""
    # The encoder cannot write raw text, so each number is encoded as a marked string, and its quotes are removed
    # afterwards. The mark is a run of NUL characters longer than at the start of any other string.
    for length in count(1):
        marking = _Marking("\0" * length)
        text = json.dumps(value, ensure_ascii=False, check_circular=False, separators=separators, default=marking)
        if not marking.count:
            return text
        text, found = re.subn(rf'"(?:\\u0000){{{length}}}([^"\\]*)"', r"\1", text)
        if found == marking.count:
            return text
    raise AssertionError("every length was tried")
