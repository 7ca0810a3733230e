"""JSON of any size and depth, without losing a digit.

A double holds about seventeen digits and no trailing zeros, and Python reads no integer of more than 4300 digits and
nothing nested deeper than its stack; PostgreSQL's `json` and `numeric` hold all of that. Rows therefore travel as text.
What has to be looked at is decoded by the `json` module, which is written in C; where that fails it is scanned here,
without recursion, and what Python cannot hold stays `JsonText`.

>>> loads_object('{"a":1.10,"b":"ü"}')
{'a': '1.10', 'b': 'ü'}
>>> members('{"a": [1, {"b": "}"}], "c": 1e999}')
{'a': '[1, {"b": "}"}]', 'c': '1e999'}
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

__all__ = [
    "JsonText",
    "Reader",
    "loads_object",
    "members",
    "on_one_line",
    "read_any",
    "read_array",
    "read_members",
    "read_object",
    "scan",
    "skip",
]


class JsonText(str):
    """A JSON value as text: a number with a decimal point or an exponent, or a value that is not decoded."""

    __slots__ = ()


Reader = Callable[[str, int], tuple[Any, int]]
"""Reads the value at an index of a text; returns it and the index after it. Raises `ValueError` for invalid JSON."""

_decoder = json.JSONDecoder(parse_float=JsonText)
_decode = _decoder.decode

scan: Reader = _decoder.raw_decode
"""Decodes the value at an index, without blanks before it; raises `RecursionError` besides `ValueError`."""

_BLANK = r"[ \t\n\r]*+"
_BEGIN = re.compile(rf"[{{\[]{_BLANK}([}}\]])?")
_NAME = re.compile(rf'"([^"\\]*+(?:\\.[^"\\]*+)*+)"{_BLANK}:{_BLANK}', re.DOTALL)
# The same in one go where the value is a string without escapes or a short number, with what comes after it.
_PLAIN = re.compile(rf'"([^"\\]*+)"{_BLANK}:{_BLANK}(?:"([^"\\]*+)"|(-?\d{{1,18}})){_BLANK}([,}}]){_BLANK}')
_NEXT = re.compile(rf"{_BLANK}([,}}\]]){_BLANK}")
_WORD = re.compile(r"[-+.\w]++")
# Brackets, and the strings in which they do not count: a short one whole, a longer one up to its first character.
_TOKEN = re.compile(r'"[^"\\]{0,256}+"|["{}\[\]]')
_IN_STRING = re.compile(r'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)

# Characters that are looked at in one call, a few milliseconds: other threads get their turn after it.
_STEP = 1024 * 1024


def skip(text: str, at: int) -> int:
    """The index after the value at `at`, whatever it holds; nothing is decoded."""
    depth = 0
    if text[at : at + 1] not in ("{", "[", '"'):
        word = _WORD.match(text, at)
        if word is None:
            raise ValueError(f"a value was expected at {at}")
        return word.end()
    while True:
        token = _TOKEN.search(text, at)
        if token is None:
            raise ValueError("the JSON ends within a value")
        at = token.end()
        match token[0]:
            case "{" | "[":
                depth += 1
            case "}" | "]":
                depth -= 1
            case '"':
                at = _end_of_string(text, at)
        if depth == 0:
            return at


def _end_of_string(text: str, at: int) -> int:
    """The index after the string that begins before `at`."""
    while True:
        inside = _IN_STRING.match(text, at, at + _STEP)
        end = at if inside is None else inside.end()
        if text.startswith('"', end):
            return end + 1
        if end == at:
            raise ValueError("the JSON ends within a string")
        at = end


def read_any(text: str, at: int) -> tuple[Any, int]:
    """A value; `JsonText` where Python cannot hold it."""
    try:
        return scan(text, at)
    except (ValueError, RecursionError):
        end = skip(text, at)
        return JsonText(text[at:end]), end


def read_object(text: str, at: int, readers: Mapping[str, Reader]) -> tuple[dict[str, Any], int]:
    """An object; the values of the members that `readers` names are read by these, all others by `read_any`."""
    found: dict[str, Any] = {}
    at, is_over = _begin(text, at, "{")
    while not is_over:
        plain = _PLAIN.match(text, at)
        if plain is not None and plain[1] not in readers:
            name, string, number, end = plain.groups()
            found[name] = string if number is None else int(number)
            at, is_over = plain.end(), end == "}"
            continue
        name, at = _name(text, at)
        found[name], at = readers.get(name, read_any)(text, at)
        at, is_over = _next(text, at)
    return found, at


def read_array(text: str, at: int, reader: Reader) -> tuple[list[Any], int]:
    """An array whose items are read by `reader`."""
    found: list[Any] = []
    at, is_over = _begin(text, at, "[")
    while not is_over:
        item, at = reader(text, at)
        found.append(item)
        at, is_over = _next(text, at)
    return found, at


def _begin(text: str, at: int, bracket: str) -> tuple[int, bool]:
    """The index of the first item after an opening bracket, or after both where there is none."""
    begin = _BEGIN.match(text, at)
    if begin is None or text[at] != bracket:
        raise ValueError(f"{bracket} was expected at {at}")
    return begin.end(), begin[1] is not None


def _name(text: str, at: int) -> tuple[str, int]:
    found = _NAME.match(text, at)
    if found is None:
        raise ValueError(f"the name of a member was expected at {at}")
    name = found[1]
    return json.loads(f'"{name}"') if "\\" in name else name, found.end()


def _next(text: str, at: int) -> tuple[int, bool]:
    """The index after the comma or bracket that follows a value, and whether it is a bracket."""
    found = _NEXT.match(text, at)
    if found is None:
        raise ValueError(f"a comma was expected at {at}")
    return found.end(), found[1] != ","


def on_one_line(text: str) -> str:
    """The same JSON without line ends; a json column keeps those between its tokens, where they are blanks."""
    return text.replace("\n", " ").replace("\r", " ") if "\n" in text or "\r" in text else text


def read_members(text: str, at: int, reader: Reader) -> tuple[dict[str, Any], int]:
    """An object whose members are all read by `reader`."""
    found: dict[str, Any] = {}
    at, is_over = _begin(text, at, "{")
    while not is_over:
        name, at = _name(text, at)
        found[name], at = reader(text, at)
        at, is_over = _next(text, at)
    return found, at


def _read_text(text: str, at: int) -> tuple[str, int]:
    end = skip(text, at)
    return text[at:end], end


def members(text: str) -> dict[str, str]:
    """The members of an object, each as the text of its value."""
    return read_members(text.strip(), 0, _read_text)[0]


def loads_object(text: str) -> dict[str, Any]:
    """Decode an object of any depth; raises `ValueError` for anything else."""
    try:
        found = _decode(text)
    except (ValueError, RecursionError):
        found = read_object(text.strip(), 0, {})[0]
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    return found
