"""JSON as Flagent reads it, from its tables and from requests, with kotlinx.serialization 1.10.

That parser accepts more than JSON: a value without quotes is any run of characters but blanks, controls and
`, : { } [ ] " \\`, taken as it is. Names of objects need quotes; strings may contain control characters.

>>> loads('{"number": 01, "word": red, "quoted": \\'x\\', "null": null}')
{'number': '01', 'word': 'red', 'quoted': "'x'", 'null': None}
>>> loads('["a", 1, true]')
['a', '1', True]
"""

import json
import re
from typing import Any

__all__ = ["loads", "to_boolean", "to_integer"]

# Beyond JSON, longer texts are refused, as one must not hold up all others, and deeper nesting, as the result must not
# depend on the stack that is left.
_MAX_LENGTH = 16 * 1024
_MAX_DEPTH = 200

_BLANKS = re.compile(r"[ \t\r\n]*")
_BARE = re.compile(r'[^\x00-\x20,:{}\[\]"\\]+')
_WORDS = {"true": True, "false": False, "null": None}

# A sign, leading zeros, as many digits as fit into 64 bits, an exponent; a sign is enough before an exponent.
_NUMERAL = re.compile(r"(?=-?[0-9]|-[eE])(-?)0*([0-9]{0,19})(?:[eE]([-+0-9]*))?")
_NO_SIGNS = str.maketrans("", "", "+-")

_json = json.JSONDecoder(strict=False, parse_int=str, parse_float=str, parse_constant=str)


def loads(text: str) -> Any:
    """Decode, numbers and other bare words as their text; raises `ValueError` where Flagent's parser fails, and beyond
    the limits of texts that are not JSON."""
    try:
        return _json.decode(text)
    except (ValueError, RecursionError):
        if len(text) > _MAX_LENGTH:
            raise ValueError(f"{len(text)} characters that are not JSON") from None
        return _Reader(text).document()


def to_boolean(text: str) -> bool | None:
    """What a field that is a boolean takes a text for, whether it is in quotes or not; None if it refuses it."""
    return {"true": True, "false": False}.get(text.lower())


def to_integer(text: str) -> int | None:
    """What a field that is an integer takes a text for, whether it is in quotes or not; None if it refuses it.

    >>> to_integer("07"), to_integer("1e2"), to_integer("1.0"), to_integer("+7")
    (7, 100, None, None)
    """
    match = _NUMERAL.fullmatch(text)
    if match is None:
        return None
    digits, exponent = f"{match[1]}{match[2] or 0}", match[3]
    if exponent is None:
        return int(digits)
    # The last of its signs counts. A number that is too large becomes infinite.
    sign = "-" if exponent.rstrip("0123456789").endswith("-") else ""
    number = float(f"{digits}e{sign}{exponent.translate(_NO_SIGNS) or 0}")
    return int(number) if number.is_integer() else None


class _Reader:
    """Reads one text, with the steps of Flagent's parser, as what it accepts follows from them."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def document(self) -> Any:
        value = self._value(_MAX_DEPTH)
        if self._next():
            raise self._error("the end")
        return value

    def _next(self) -> str:
        """The next character after blanks, "" at the end; it is not taken."""
        blanks = _BLANKS.match(self._text, self._at)
        assert blanks is not None, "it matches an empty text"
        self._at = blanks.end()
        return self._text[self._at : self._at + 1]

    def _take(self, allowed: str) -> str:
        character = self._next()
        if not character or character not in allowed:
            raise self._error(f"one of {allowed}")
        self._at += 1
        return character

    def _has_value(self) -> bool:
        # The empty text, the end, is in every text.
        return self._next() not in "}]:,"

    def _value(self, depth: int) -> Any:
        match self._next():
            case "{" if depth:
                return self._object(depth - 1)
            case "[" if depth:
                return self._array(depth - 1)
            case '"':
                return self._string()
            case _:
                return self._bare()

    def _string(self) -> str:
        if self._next() != '"':
            raise self._error("a string")
        text: str
        text, self._at = _json.raw_decode(self._text, self._at)
        return text

    def _bare(self) -> str | bool | None:
        word = _BARE.match(self._text, self._at)
        if word is None:
            raise self._error("a value")
        self._at = word.end()
        return _WORDS.get(word[0], word[0])

    def _object(self, depth: int) -> dict[str, Any]:
        last = self._take("{")
        values: dict[str, Any] = {}
        while last != "}" and self._has_value():
            name = self._string()
            self._take(":")
            values[name] = self._value(depth)
            last = self._take(",}")
        if last == ",":
            raise self._error("a name")
        if last == "{":
            self._take("}")
        return values

    def _array(self, depth: int) -> list[Any]:
        last = self._take("[")
        values: list[Any] = []
        # Not only until the end of the array: a value that follows it is one of its elements, `[1]2]` is `[1, 2]`.
        while self._has_value():
            values.append(self._value(depth))
            last = self._take(",]")
        if last == ",":
            raise self._error("a value")
        if last == "[":
            self._take("]")
        return values

    def _error(self, expected: str) -> ValueError:
        return ValueError(f"expected {expected} at {self._at}")
