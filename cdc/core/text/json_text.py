"""Compact JSON as browsers write it: no blanks, text not escaped beyond need.

>>> encode({"b": "ü", "a": [1, None]})
'{"b":"ü","a":[1,null]}'
>>> encode_sorted({"b": "ü", "a": [1, None]})
'{"a":[1,null],"b":"ü"}'
"""

import json
import re
from typing import Any

__all__ = ["encode", "encode_sorted"]

_as_given = json.JSONEncoder(ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":")).encode
_sorted = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":"), sort_keys=True
).encode

# A JSON text within a column may hold half of a surrogate pair as an escape. UTF-8 cannot carry it, so it leaves as
# the escape it came as, which is also what JSON.stringify does (well-formed JSON.stringify, ES2019).
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def _well_formed(text: str) -> str:
    if text.isascii():
        return text
    return _LONE_SURROGATE.sub(lambda half: f"\\u{ord(half[0]):04x}", text)


def encode(value: Any) -> str:
    """JSON text of a value, keys in the order given; always encodable as UTF-8."""
    return _well_formed(_as_given(value))


def encode_sorted(value: Any) -> str:
    """The same with the keys of every object in code point order."""
    return _well_formed(_sorted(value))
