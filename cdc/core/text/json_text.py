"""Compact JSON as browsers write it: no blanks, only the necessary escapes.

>>> encode({"b": "ü", "a": [1, None]})
'{"b":"ü","a":[1,null]}'
>>> encode_sorted({"b": "ü", "a": [1, None]})
'{"a":[1,null],"b":"ü"}'
>>> encode_members({"total": JsonText("1.10"), "name": "b"})
'{"total":1.10,"name":"b"}'
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from .exact_json import JsonText

__all__ = ["encode", "encode_members", "encode_sorted"]

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


def encode_members(members: Mapping[str, Any]) -> str:
    """Encode an object, whose members that are `JsonText` are encoded already; no name needs an escape."""
    texts = [f'"{name}":{value if type(value) is JsonText else encode(value)}' for name, value in members.items()]
    return f"{{{','.join(texts)}}}"


def encode_sorted(value: Any) -> str:
    """Encode a value with the keys of every object in code point order."""
    return _well_formed(_sorted(value))
