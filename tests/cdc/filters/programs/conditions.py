"""Random conditions in the text of SQL, within what filters may say, with parameters.

Precedence is left to the parsers: few parentheses are written. Of ten conditions one or two are refused, because a
literal does not fit its column; PostgreSQL must refuse those too, or compare in a way that filters do not.
"""

import random

from .rows import COLUMNS, values_of

__all__ = ["random_condition"]

_NUMERIC = ("s", "i", "l", "d", "m", "dom")
_TEXTUAL = ("t", "c", "v", 'Odd "Name')
_FAMILIES = {
    **dict.fromkeys(_NUMERIC, _NUMERIC),
    "t": ("v", "t"),
    "v": ("t", "v"),
    "c": ("c",),
    'Odd "Name': ("t",),
    "a": ("a",),
    "u": ("u",),
    "day": ("day",),
    "at": ("at",),
    "loc": ("loc",),
    "st": ("st",),
}
_CASTS = {
    "a": "boolean",
    "s": "smallint",
    "i": "int",
    "l": "bigint",
    "d": "numeric",
    "m": "numeric",
    "dom": "numeric",
    "t": "text",
    "c": "text",
    "v": "varchar",
    'Odd "Name': "text",
    "u": "uuid",
    "day": "date",
    "at": "timestamptz",
    "loc": "timestamp",
}
_PATTERNS = ("%", "a%", "%a", "%b%", "_", "a_b", "a\\_b", "a\\%b", "%\\\\", "", "__%", "%ä%", "A%", "a%b%")
_FIELDS = ("a", "b", "1.10", "7", "zero", "[1, 2]", "1000", "true")
_PATHS = ("'k'", "'0'", "0", "-1", "1", "'missing'", "'it''s'")


class _Maker:
    def __init__(self, choose: random.Random) -> None:
        self.choose = choose
        self.parameters: list[str | None] = []

    def condition(self, depth: int) -> str:
        choose = self.choose
        if depth > 0 and choose.random() < 0.6:
            kind = choose.random()
            if kind < 0.15:
                return f"not {self.condition(depth - 1)}"
            if kind < 0.35:
                return f"({self.condition(depth - 1)})"
            word = " and " if kind < 0.7 else " or "
            return word.join(self.condition(depth - 1) for _ in range(choose.randint(2, 3)))
        return self.comparison()

    def comparison(self) -> str:
        choose, kind = self.choose, self.choose.random()
        column = choose.choice(COLUMNS)
        if kind < 0.08 and column not in ("j", "b"):
            return f"{_quoted(column)} is {choose.choice(('', 'not '))}null"
        if kind < 0.13:
            return choose.choice(("a", "a is true", "a is not true", "a is false", "a is not false"))
        if column in ("j", "b"):
            return self.field(column)
        if kind < 0.25:
            text = _quoted(choose.choice(_TEXTUAL))
            word = choose.choice(("like", "not like"))
            escape = choose.choice(("", "", " escape '!'"))
            return f"{text} {word} {self.literal(choose.choice(_PATTERNS))}{escape}"
        if kind < 0.40:
            values = ", ".join(self.value(column) for _ in range(choose.randint(1, 4)))
            return f"{_quoted(column)} {choose.choice(('in', 'not in'))} ({values})"
        side = self.ordered(column)
        if kind < 0.52:
            return f"{side} {choose.choice(('between', 'not between'))} {self.value(column)} and {self.value(column)}"
        operator = choose.choice(("=", "<>", "!=", "<", "<=", ">", ">="))
        if operator in ("=", "<>", "!="):
            side = _quoted(column)
        if kind < 0.62:
            other = _quoted(choose.choice(_FAMILIES[column]))
            return f"{side} {operator} {other}"
        if kind < 0.68:
            return f"{self.value(column)} {operator} {side}"
        return f"{side} {operator} {self.value(column)}"

    def field(self, column: str) -> str:
        choose = self.choose
        path = "".join(f" -> {choose.choice(_PATHS)}" for _ in range(choose.randint(0, 2) // 2))
        text = f"{column}{path} ->> {choose.choice(_PATHS)}"
        kind = choose.random()
        if kind < 0.2:
            return f"{text} is {choose.choice(('', 'not '))}null"
        if kind < 0.35:
            return f"{text} like {self.literal(choose.choice(_PATTERNS))}"
        if kind < 0.5:
            return f'({text}) collate "C" {choose.choice(("<", ">="))} {self.literal("a")}'
        return f"{text} {choose.choice(('=', '<>'))} {self.literal(choose.choice(_FIELDS))}"

    def ordered(self, column: str) -> str:
        """A column as one side of an order."""
        name = _quoted(column)
        return f'{name} collate "C"' if column in _TEXTUAL and column != "c" else name

    def value(self, column: str) -> str:
        choose = self.choose
        if choose.random() < 0.04:
            return "null"
        text = choose.choice(values_of(column))
        if column in _NUMERIC:
            text = choose.choice(values_of(choose.choice(_NUMERIC)))
            if text[-1].isdigit() and choose.random() < 0.6:
                return text
        if column == "a" and choose.random() < 0.4:
            return text
        written = self.literal(text)
        if column in _CASTS and not written.startswith("$") and choose.random() < 0.2:
            return f"{written}::{_CASTS[column]}"
        return written

    def literal(self, text: str) -> str:
        if self.choose.random() < 0.3 and len(self.parameters) < 50:
            self.parameters.append(text)
            return f"${len(self.parameters)}"
        return "'" + text.replace("'", "''") + "'"


def _quoted(name: str) -> str:
    return name if name.isidentifier() else '"' + name.replace('"', '""') + '"'


def random_condition(choose: random.Random) -> tuple[str, list[str | None]]:
    """The text and the values of its parameters."""
    maker = _Maker(choose)
    return maker.condition(choose.randint(0, 3)), maker.parameters
