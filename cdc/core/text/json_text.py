"""Compact JSON as browsers write it: no blanks, only the necessary escapes.

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

# A JSON column may hold half of a surrogate pair as an escape. UTF-8 cannot encode it, so it stays an escape, as in
# JSON.stringify (well-formed JSON.stringify, ES2019).
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def _well_formed(text: str) -> str:
    if text.isascii():
        return text
    return _LONE_SURROGATE.sub(lambda half: f"\\u{ord(half[0]):04x}", text)


def encode(value: Any) -> str:
    """Encode a value, keys in their order; the result can always be encoded as UTF-8."""
    return _well_formed(_as_given(value))


def encode_sorted(value: Any) -> str:
    """Encode a value with the keys of every object in code point order."""
    return _well_formed(_sorted(value))
