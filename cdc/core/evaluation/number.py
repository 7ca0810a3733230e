"""What counts as a number in a constraint: Java's `Double.parseDouble`.

Python's `float()` alone is wrong in both directions: it accepts `1_0`, `inf` and other digits than ASCII's, and refuses
`10d` and `0x1p4`.
"""

import re

__all__ = ["parse_double"]

# Java's String.trim: every character up to the blank, controls included.
_TRIMMED = "".join(map(chr, range(0x21)))

# Possessive, so that a long text which is not a number is refused in one pass.
_DECIMAL = re.compile(r"([+-]?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?)[fFdD]?")
_HEX = re.compile(r"([+-]?0[xX](?:[0-9a-fA-F]++\.?|[0-9a-fA-F]*+\.[0-9a-fA-F]++)[pP][+-]?[0-9]++)[fFdD]?")
_NAMED = {
    sign + name: float(sign + name) for sign in ("", "+", "-") for name in ("NaN", "Infinity")
}  # only in exactly this case


def parse_double(text: str) -> float | None:
    """The number that Java reads from `text`, None where it reads none; NaN is a number here.

    What is too large is infinite, what is too small is zero.
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
