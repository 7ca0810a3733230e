"""Numbers in constraints, parsed as Java's `Double.parseDouble` does.

Python's `float()` differs in both directions: it accepts `1_0`, `inf` and non-ASCII digits, and refuses `10d` and
`0x1p4`.
"""

import re

__all__ = ["parse_double"]

# Java's String.trim removes every character up to the blank, including controls.
_TRIMMED = "".join(map(chr, range(0x21)))

# Possessive, so a long text that is not a number is refused in one pass.
_DECIMAL = re.compile(r"([+-]?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?)[fFdD]?")
_HEX = re.compile(r"([+-]?0[xX](?:[0-9a-fA-F]++\.?|[0-9a-fA-F]*+\.[0-9a-fA-F]++)[pP][+-]?[0-9]++)[fFdD]?")
_NAMED = {sign + name: float(sign + name) for sign in ("", "+", "-") for name in ("NaN", "Infinity")}  # case-sensitive


def parse_double(text: str) -> float | None:
    """The number that Java parses from `text`, None if it fails; NaN is a number.

    Numbers that are too large become infinite, those too small zero.
    """
    if text.isascii() and text.isdigit():
        return float(text)
    text = text.strip(_TRIMMED)
    if match := _DECIMAL.fullmatch(text):
        return float(match[1])
    if text in _NAMED:
        return _NAMED[text]
    if match := _HEX.fullmatch(text):
        try:
            return float.fromhex(match[1])
        except OverflowError:
            return float("-inf") if text.startswith("-") else float("inf")
    return None
