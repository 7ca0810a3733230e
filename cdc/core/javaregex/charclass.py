"""Parsing of character classes, `[…]`, with unions and intersections."""

from ..errors import InvalidPattern
from .charset import CharSet, Ranges, any_of, both_of, none_of, ranges
from .escape import CLASS_ESCAPES, Escapes
from .property import class_set

__all__ = ["Classes"]


class Classes(Escapes):
    """The parser of character classes."""

    def _class(self) -> CharSet:
        """Parse `[…]`; the cursor is at its bracket."""
        with self._deeper():
            self.at += 1
            is_negated = self._special() == "^" and self.chars[self.at - 1] == "["
            if is_negated:
                self.at += 1
            found = self._class_items()
            self.at += 1
        return none_of(found) if is_negated else found

    def _class_items(self) -> CharSet:
        """Parse unions and intersections up to the closing bracket, which stays; a first `]` is a literal."""
        sofar: CharSet | None = None
        latest: CharSet | None = None
        singles: list[Ranges] = []
        while True:
            char = self._special()
            if char == "[":
                latest = self._class()
                sofar = latest if sofar is None else any_of(sofar, latest)
                continue
            if char == "&" and self._follows_ampersand():
                right = self._intersected()
                if singles:
                    pending = any_of(*singles)
                    if sofar is None:
                        sofar = latest = pending
                    else:
                        sofar = any_of(sofar, pending)
                    singles = []
                # With nothing to the right, Java intersects with the previous item; if that is a single character, the
                # compiled expression throws at its first use, which is equivalent to invalid.
                right = right if right is not None else latest
                if right is None:
                    raise InvalidPattern("bad class syntax")
                sofar = right if sofar is None else both_of(sofar, right)
                latest = right
                continue
            if self._is_over():
                raise InvalidPattern("unclosed character class")
            if char == "]" and (sofar is not None or singles):
                return any_of(*singles, *([] if sofar is None else [sofar]))
            item, is_single = self._class_range()
            if is_single:
                assert isinstance(item, Ranges)
                singles.append(item)
                latest = None
            else:
                latest = item
                sofar = item if sofar is None else any_of(sofar, item)

    def _follows_ampersand(self) -> bool:
        """Consume `&&` at the cursor, if it is there."""
        start = self.at
        self.at += 1
        if self._special() == "&":
            self.at += 1
            return True
        self.at = start
        return False

    def _intersected(self) -> CharSet | None:
        """Parse the right side of `&&`, up to the next one or the end; None if it is empty."""
        right: CharSet | None = None
        while not self._is_over() and self._special() not in ("]", "&"):
            if self._special() == "[":
                part = self._class()
            else:
                with self._deeper():
                    part = self._class_items()
            right = part if right is None else any_of(right, part)
        return right

    def _class_range(self) -> tuple[CharSet, bool]:
        """Parse a character, a range or a predefined class; also return whether it is a single character below 256.

        Java collects those separately and adds them to the rest late, which matters if intersections follow.
        """
        first = self._class_code(in_range=False)
        if not isinstance(first, int):
            return first, False
        if self._special() == "-":
            end = self.chars[self.at + 1] if not self.quoted[self.at + 1] else ""
            if end == "[" or end == "]":
                return self._bit(first)
            self.at += 1
            last = self._class_code(in_range=True) if not self._is_over() else -1
            if not isinstance(last, int) or last < first:
                raise InvalidPattern("illegal character range")
            return self._folded(ranges((first, last))), False
        return self._bit(first)

    def _bit(self, code: int) -> tuple[CharSet, bool]:
        return self._single(code), code < 256

    def _class_code(self, *, in_range: bool) -> CharSet | int:
        """Parse a character of a class, or an escape for a set."""
        if self._special() != "\\":
            return ord(self._take())
        char = self.chars[self.at + 1]
        if char in ("p", "P") and not in_range:
            return self._property()
        if char == "v" and (in_range or self.chars[self.at + 2] == "-"):
            self.at += 2
            return 0x0B
        if char in CLASS_ESCAPES and char:
            self.at += 2
            return class_set(char, unicode="U" in self.flags)
        return self._code()
