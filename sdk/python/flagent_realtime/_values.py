"""Entity ids, values of a context and numbers of attachments, the same in every SDK. Pure."""

from __future__ import annotations

import math
import re
from numbers import Integral
from typing import Any, Union

__all__ = ["ContextValue", "context_text", "entity_text", "is_blank", "read_integer", "read_number"]

ContextValue = Union[str, int, float, bool, None]

WHITESPACE = (
    "\t\n\v\f\r\x1c\x1d\x1e\x1f \xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""Kotlin's whitespace. It includes no-break spaces; it does not include U+0085, which ``str.strip`` removes."""

_MAX_SAFE_INTEGER = 2**53 - 1
_JSON_NUMBER = re.compile(r"(-?)(0|[1-9][0-9]*)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?")


def is_blank(text: str) -> bool:
    """Whether a text is empty or only whitespace."""
    return not text.strip(WHITESPACE)


def entity_text(value: object) -> str | None:
    """An entity's id as text: a whole number counts as its digits. Raises :exc:`TypeError`.

    >>> entity_text(42), entity_text(42.0), entity_text("0042")
    ('42', '42', '0042')
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Integral) and not isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer() and abs(value) <= _MAX_SAFE_INTEGER:
        return str(int(value))
    raise TypeError(
        f"entity_id is a {type(value).__name__} ({str(value)[:50]}); it must be a string or a whole number: pass str(…)"
    )


def context_text(value: object, name: str = "") -> str | None:
    """A context value as text for constraints; ``None`` counts as missing. Raises :exc:`TypeError`, and for a number
    that is not finite :exc:`ValueError`.

    Numbers are written as JavaScript writes them, so that 3 and 3.0 are the same value.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Integral):
        return str(int(value))
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"the context value {name!r} is {value}; a number must be finite")
        return _number_text(value)
    raise TypeError(
        f"the context value {name!r} is a {type(value).__name__}; it must be a string, a number, a boolean or None"
    )


def context_texts(context: Any) -> dict[str, str]:
    """A context with its values as text, without those that are ``None``."""
    pairs = ((name, context_text(value, name)) for name, value in (context or {}).items())
    return {name: text for name, text in pairs if text is not None}


def _number_text(value: float) -> str:
    """A finite number as ECMAScript's ``Number::toString`` writes it."""
    if value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    sign = "-" if value < 0 else ""
    digits, exponent = _decimal(repr(abs(value)))
    point = len(digits) + exponent
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{fraction}e{point - 1:+d}"


def read_number(text: str) -> float:
    """A number in JSON's grammar; raises :exc:`ValueError` for another text, and where a double would lose digits.

    >>> read_number("1e3")
    1000.0
    """
    digits, value = _decimal(text), float(text)
    if not math.isfinite(value) or _decimal(repr(value)) != digits:
        raise ValueError(f"{text[:50]!r} has more digits than a double can hold")
    return value


def read_integer(text: str) -> int:
    """A whole number in JSON's grammar, however it is spelled; raises :exc:`ValueError`.

    >>> read_integer("3.0"), read_integer("9007199254740993")
    (3, 9007199254740993)
    """
    digits, exponent = _decimal(text)
    if exponent < 0:
        raise ValueError(f"{text[:50]!r} is not a whole number")
    if not math.isfinite(float(text)):
        raise ValueError(f"{text[:50]!r} is too large")
    value: int = int(digits or "0") * 10**exponent
    return -value if text.startswith("-") else value


def _decimal(text: str) -> tuple[str, int]:
    """A number's significant digits and exponent, the same for every spelling; zero has no digits."""
    match = _JSON_NUMBER.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:50]!r} is not a number; numbers are written as in JSON")
    _, whole, fraction, exponent = match.groups(default="")
    digits = (whole + fraction).lstrip("0")
    significant = digits.rstrip("0")
    if not significant:
        return "", 0
    return significant, int(exponent or "0") - len(fraction) + len(digits) - len(significant)
