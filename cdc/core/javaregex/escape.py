"""Parsing of escapes, inside and outside of classes."""

import unicodedata

from ..errors import InvalidPattern
from .charset import CharSet, Ranges, fold_ascii, fold_unicode, none_of, ranges
from .cursor import DIGITS, LETTERS, Cursor
from .property import property_set

__all__ = ["CLASS_ESCAPES", "Escapes"]

CLASS_ESCAPES = frozenset("dDhHsSvVwW")
_OCTAL = frozenset("01234567")
_HEX = frozenset("0123456789abcdefABCDEF")
_CONTROL_ESCAPES = {"a": 7, "e": 27, "f": 12, "n": 10, "r": 13, "t": 9}


class Escapes(Cursor):
    """The parser of escapes."""

    def _single(self, code: int) -> Ranges:
        return self._folded(ranges((code, code)))

    def _folded(self, known: Ranges) -> Ranges:
        if "i" not in self.flags:
            return known
        return fold_unicode(known) if "u" in self.flags else fold_ascii(known)

    def _property(self) -> CharSet:
        """Parse `\\pL` or `\\p{…}`, or with a capital P the complement."""
        is_complement = self.chars[self.at + 1] == "P"
        self.at += 2
        if self._peek() != "{":
            name = self._take()
        else:
            self.at += 1
            self._peek()
            start = self.at
            end = next((at for at in range(start, len(self.chars)) if self.chars[at] == "}"), None)
            if end is None:
                raise InvalidPattern("unclosed character family")
            name = "".join(self.chars[start:end])
            if not name:
                raise InvalidPattern("empty character family")
            self.at = end + 1
        found = property_set(name, folds="i" in self.flags, unicode="U" in self.flags)
        return none_of(found) if is_complement else found

    def _code(self) -> int:
        """Parse an escape for one character; the cursor is at its backslash."""
        char = self.chars[self.at + 1]
        self.at += 2
        match char:
            case "0":
                return self._octal()
            case "x":
                return self._hex_escape()
            case "u":
                return self._unicode_escape()
            case "N":
                return self._named()
            case "c":
                if not self.chars[self.at]:
                    raise InvalidPattern("illegal control escape sequence")
                return ord(self._take()) ^ 64
            case "":
                raise InvalidPattern("unexpected end after a backslash")
        if char in _CONTROL_ESCAPES:
            return _CONTROL_ESCAPES[char]
        if char in LETTERS or char in DIGITS:
            raise InvalidPattern(f"illegal or unsupported escape sequence \\{char}")
        return ord(char)

    def _octal(self) -> int:
        digits = ""
        while len(digits) < 3 and self._peek() in _OCTAL and self._peek():
            if len(digits) == 2 and digits[0] > "3":
                break
            digits += self._take()
        if not digits:
            raise InvalidPattern("illegal octal escape sequence")
        return int(digits, 8)

    def _hex_escape(self) -> int:
        if self._peek() == "{":
            self.at += 1
            digits = ""
            while self._peek() in _HEX and self._peek():
                digits += self._take()
                if int(digits, 16) > 0x10FFFF:
                    raise InvalidPattern("a hexadecimal code point is too big")
            if not digits or self._take() != "}":
                raise InvalidPattern("unclosed hexadecimal escape sequence")
            return int(digits, 16)
        return self._hex_digits(2)

    def _hex_digits(self, count: int) -> int:
        digits = "".join(self._take() for _ in range(count) if self._peek() in _HEX and self._peek())
        if len(digits) != count:
            raise InvalidPattern("illegal hexadecimal escape sequence")
        return int(digits, 16)

    def _unicode_escape(self) -> int:
        """Parse `\\uhhhh`; two of them that form a surrogate pair are one character."""
        code = self._hex_digits(4)
        if 0xD800 <= code < 0xDC00 and self.chars[self.at] == "\\" and self.chars[self.at + 1] == "u":
            after = self.at
            self.at += 2
            low = self._hex_digits(4)
            if 0xDC00 <= low < 0xE000:
                return 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
            self.at = after
        return code

    def _named(self) -> int:
        if self._peek() != "{":
            raise InvalidPattern("illegal character name escape sequence")
        end = next((at for at in range(self.at, len(self.chars)) if self.chars[at] == "}"), None)
        if end is None:
            raise InvalidPattern("unclosed character name escape sequence")
        name = "".join(self.chars[self.at + 1 : end])
        self.at = end + 1
        try:
            return ord(unicodedata.lookup(name.strip()))
        except (KeyError, TypeError) as error:
            raise InvalidPattern(f"unknown character name {name!r}") from error
