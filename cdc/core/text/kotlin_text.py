"""What Kotlin's standard library makes of a text, as Flagent does with the parameters of a query.

>>> to_boolean("TRUE"), to_boolean("1"), to_integer("+07", bits=32), to_integer("7.0", bits=32)
(True, False, 7, None)
"""

import re

__all__ = ["WHITESPACE", "to_boolean", "to_integer"]

# What `trim()` removes: with no-break spaces, without U+0085, unlike str.isspace in Python.
WHITESPACE = (
    "\t\n\v\f\r\x1c\x1d\x1e\x1f \xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)

# Digits of every script, as in Java, whose characters have 16 bits.
_INTEGER = re.compile(r"[+-]?0*((?:(?![\U00010000-\U0010ffff])\d)*)")

_MAX_DIGITS = len(str(2**63))


def to_boolean(text: str) -> bool:
    """`String.toBoolean()`: true for `true` in any case, else false."""
    return text.lower() == "true"


def to_integer(text: str, *, bits: int) -> int | None:
    """`String.toIntOrNull()` of 32 bits, `String.toLongOrNull()` of 64."""
    match = _INTEGER.fullmatch(text)
    if match is None or text in ("", "+", "-") or len(match[1]) > _MAX_DIGITS:
        return None
    number = int(match[1] or "0") * (-1 if text[0] == "-" else 1)
    return number if -(2 ** (bits - 1)) <= number < 2 ** (bits - 1) else None
