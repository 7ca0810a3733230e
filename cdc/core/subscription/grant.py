"""What a credential allows.

A grant lists what may be read. Each part narrows: with `flags` and `tags` a flag must satisfy both. Parts about flags
(`flags`, `tags`, `projects`, `environments`) allow flags only, `tables` allows watched tables only; a client that needs
both gets both, and a grant without parts allows everything. `schemas` narrows all of it. `rows` narrows the tables that
it names to some of their rows and columns, and without `tables` allows these tables only.

What a grant does not allow does not exist for its holder. A flag that leaves what is allowed (it loses a tag, or moves
to another project) is delivered as deleted: nothing of its new state is shown.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Self, TypeVar

from ..errors import InvalidInput
from ..flags.events import Event, FlagScope
from ..flags.flag import FlagJson, tag_values
from ..interned import interned
from ..log.captured_table import CapturedTable
from ..log.table_name import both_ways, without_schema
from ..row_filter.row_rule import RowRule

__all__ = ["EVERYTHING", "Grant", "View"]

MAX_ENTRIES = 1_000
MAX_TEXT = 256

MAX_RULES = 8

_ANY = "*"

T = TypeVar("T")

_TEXTS = ("flags", "tags", "schemas", "tables")
_NUMBERS = ("projects", "environments")
_SWITCHES = ("evaluate", "admin", "expose")


class View(Enum):
    """How an event looks to the holder of a grant."""

    WHOLE = "whole"
    LEFT = "left"  # the flag was allowed before the event and is not after it: delivered as its deletion
    HIDDEN = "hidden"


@dataclass(frozen=True, slots=True)
class Grant:
    """A part that is None does not restrict, an empty one allows nothing. `flags` are keys, or prefixes with `*`.

    A flag without an environment is in all of them, as in Flagent; `projects` are matched exactly. `rows` are pairs of
    a table's name and a rule, of which all hold that name a table, with its schema or without.
    """

    flags: frozenset[str] | None = None
    tags: frozenset[str] | None = None
    schemas: frozenset[str] | None = None
    projects: frozenset[int] | None = None
    environments: frozenset[int] | None = None
    tables: frozenset[str] | None = None
    rows: tuple[tuple[str, RowRule], ...] = ()
    evaluate: bool = True
    admin: bool = False
    expose: bool = False
    is_restricted: bool = field(init=False, repr=False, compare=False, default=False)
    """Whether there is anything that it does not allow to be read. Every request asks."""
    _prefixes: tuple[str, ...] = field(init=False, repr=False, compare=False, default=())

    def __post_init__(self) -> None:
        prefixes = tuple(sorted(key[:-1] for key in self.flags or () if key.endswith(_ANY)))
        object.__setattr__(self, "_prefixes", prefixes)
        is_restricted = self.schemas is not None or self.tables is not None or bool(self.rows) or self._names_flags
        object.__setattr__(self, "is_restricted", is_restricted)

    @classmethod
    def parse(cls, raw: object) -> Self:
        """Read the scopes of a key or token; raises `InvalidInput`. An unknown name is an error, never ignored.

        >>> Grant.parse({"flags": ["web-*"], "evaluate": False}).to_json()
        {'flags': ['web-*'], 'evaluate': False}
        """
        if not isinstance(raw, Mapping):
            raise InvalidInput("scopes must be a JSON object", name="scopes", code="invalid_scopes")
        values: dict[str, Any] = {}
        for name, value in raw.items():
            if name in _TEXTS:
                values[name] = _texts(name, value)
            elif name in _NUMBERS:
                values[name] = _numbers(name, value)
            elif name in _SWITCHES:
                if not isinstance(value, bool):
                    raise _refuse(name, "true or false")
                values[name] = value
            elif name == "rows":
                values[name] = _rules(value)
            else:
                known = ", ".join((*_TEXTS, *_NUMBERS, "rows", *_SWITCHES))
                raise InvalidInput(
                    f"there is no scope {str(name)[:64]!r}; there are {known}", name="scopes", code="invalid_scopes"
                )
        if values.get("rows") and "tables" not in values:
            names = frozenset(name for name, _ in values["rows"])
            values["tables"] = interned(names) if len(names) == 1 else names
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """The JSON that `parse` reads, without the parts that do not restrict."""
        written: dict[str, Any] = {}
        for name in (*_TEXTS, *_NUMBERS):
            part = getattr(self, name)
            if part is not None:
                written[name] = sorted(part)
        if self.rows:
            rows: dict[str, list[dict[str, Any]]] = {}
            for name, rule in self.rows:
                rows.setdefault(name, []).append(rule.to_json())
            written["rows"] = {name: rules[0] if len(rules) == 1 else rules for name, rules in rows.items()}
        if not self.evaluate:
            written["evaluate"] = False
        if self.admin:
            written["admin"] = True
        if self.expose:
            written["expose"] = True
        return written

    @property
    def reads_nothing(self) -> bool:
        """Whether there can be neither a flag nor a row that it allows to be read."""
        parts = (self.flags, self.tags, self.projects)
        has_flags = self.tables is None if not self._names_flags else frozenset() not in parts
        return self.schemas == frozenset() or not (has_flags or self.opens_rows)

    def within(self, other: Self) -> Self:
        """What both allow, and never more than either of them.

        >>> key, wish = Grant.parse({"flags": ["web-*", "a"]}), Grant.parse({"flags": ["web-x", "b"], "tables": ["t"]})
        >>> key.within(wish).to_json()
        {'flags': ['web-x'], 'tables': []}
        """
        mine, its = self._spelled_out(), other._spelled_out()
        return replace(
            mine,
            flags=_overlap(mine.flags, its.flags, _keys_of_both),
            tags=_overlap(mine.tags, its.tags),
            schemas=_overlap(mine.schemas, its.schemas),
            projects=_overlap(mine.projects, its.projects),
            environments=_overlap(mine.environments, its.environments),
            tables=_overlap(mine.tables, its.tables, _tables_of_both),
            rows=tuple(dict.fromkeys((*mine.rows, *its.rows))),
            evaluate=self.evaluate and other.evaluate,
            admin=self.admin and other.admin,
            expose=self.expose and other.expose,
        )

    def _spelled_out(self) -> Self:
        """The same grant, with what its parts about flags deny of tables, and the reverse, as a part."""
        if self._names_flags and self.tables is None:
            return replace(self, tables=frozenset())
        if self.tables is not None and not self._names_flags:
            return replace(self, flags=frozenset())
        return self

    @property
    def _names_flags(self) -> bool:
        return not (self.flags is None and self.tags is None and self.projects is None and self.environments is None)

    def allows_schema(self, schema: str) -> bool:
        return self.schemas is None or schema in self.schemas

    def allows_flag(self, schema: str, flag: FlagJson) -> bool:
        """Whether a flag in its present state may be read."""
        return self.allows(schema, flag["key"], FlagScope(tag_values(flag), flag["projectId"], flag["environmentId"]))

    def allows(self, schema: str, key: str, scope: FlagScope) -> bool:
        """Whether a flag with this key and scope may be read."""
        return self.allows_schema(schema) and self._allows(key, scope)

    def allows_table(self, schema: str, table: str) -> bool:
        """Whether rows of a watched table may be read; the grant names it with or without its schema."""
        if not self.allows_schema(schema):
            return False
        if self.tables is None:
            return not self._names_flags
        return not self.tables.isdisjoint((_ANY, *both_ways(table, schema)))

    def rules_of(self, schema: str, table: str) -> tuple[RowRule, ...]:
        """What it imposes on the rows of a table; every one of these rules applies."""
        if not self.rows:
            return ()
        names = both_ways(table, schema)
        return tuple(rule for name, rule in self.rows if name in names or name == _ANY)

    def with_claims(self, claims: Mapping[str, Any], paths_of: Callable[[str], Iterable[str]]) -> Self:
        """The same grant for the holder of a token with these claims; `paths_of` names those that a `where` reads."""
        if not self.rows:
            return self
        rows = tuple(
            (name, rule if rule.where is None or rule.claims else rule.with_claims(claims, paths_of(rule.where)))
            for name, rule in self.rows
        )
        return replace(self, rows=rows)

    @property
    def opens_rows(self) -> bool:
        """Whether there may be a table whose rows may be read."""
        return not self._names_flags if self.tables is None else bool(self.tables)

    def allows_row(self, schema: str, table: str, *, is_of_flags: bool) -> bool:
        """Whether a row of the change log may be read, outside of any event.

        A row of Flagent's tables does not show whether its flag is allowed (a constraint has only its segment's id), so
        those are for grants that restrict neither flags nor tables.
        """
        if is_of_flags:
            return self.allows_schema(schema) and self.tables is None and not self._names_flags
        return self.allows_table(schema, table)

    def allows_captured(self, table: CapturedTable) -> bool:
        return self.allows_row(table.schema, table.table, is_of_flags=table.is_of_flags)

    def view(self, event: Event) -> View:
        """How an event looks: a row event depends on its table, any other on its flag before and after."""
        table: str | None = event.detail.get("table")
        if table is not None:
            return View.WHOLE if self.allows_table(event.schema, table) else View.HIDDEN
        if event.flag is not None and self.allows_flag(event.schema, event.flag):
            return View.WHOLE
        if event.before is None or not self.allows_schema(event.schema):
            return View.HIDDEN
        if not self._allows(event.flag_key or "", event.before):
            return View.HIDDEN
        return View.WHOLE if event.flag is None else View.LEFT

    def _allows(self, key: str, standing: FlagScope) -> bool:
        if not self._names_flags:
            return self.tables is None
        return (
            (self.flags is None or key in self.flags or key.startswith(self._prefixes))
            and (self.tags is None or not self.tags.isdisjoint(standing.tags))
            and (self.projects is None or standing.project_id in self.projects)
            and (
                self.environments is None
                or standing.environment_id is None
                or standing.environment_id in self.environments
            )
        )


EVERYTHING = Grant(admin=True)
"""The grant of every client where no credentials are required."""


def _overlap(
    mine: frozenset[T] | None,
    its: frozenset[T] | None,
    both: Callable[[frozenset[T], frozenset[T]], frozenset[T]] = frozenset.intersection,
) -> frozenset[T] | None:
    """One part of two grants."""
    if mine is None or its is None:
        return its if mine is None else mine
    return both(mine, its)


def _keys_of_both(mine: frozenset[str], its: frozenset[str]) -> frozenset[str]:
    """The keys, and the prefixes with `*`, that both lists cover."""

    def covered(keys: frozenset[str], by: frozenset[str]) -> set[str]:
        prefixes = tuple(key[:-1] for key in by if key.endswith(_ANY))
        return {key for key in keys if key in by or key.removesuffix(_ANY).startswith(prefixes)}

    return frozenset(covered(mine, its) | covered(its, mine))


def _tables_of_both(mine: frozenset[str], its: frozenset[str]) -> frozenset[str]:
    """The tables that both lists name, with their schema where one of them gives it."""

    def named(tables: frozenset[str], by: frozenset[str]) -> set[str]:
        return {name for name in tables if _ANY in by or name in by or without_schema(name) in by}

    return frozenset(named(mine, its) | named(its, mine))


def _rules(value: object) -> tuple[tuple[str, RowRule], ...]:
    if not isinstance(value, Mapping) or not 0 < len(value) <= MAX_ENTRIES:
        raise _refuse("rows", f"an object with 1 to {MAX_ENTRIES} tables")
    rules: list[tuple[str, RowRule]] = []
    for name, raw in value.items():
        if not isinstance(name, str) or not 0 < len(name) <= MAX_TEXT:
            raise _refuse("rows", f"an object whose names are tables, of 1 to {MAX_TEXT} characters")
        of_table = raw if isinstance(raw, list) else [raw]
        if not 0 < len(of_table) <= MAX_RULES:
            raise _refuse("rows", f"an object with 1 to {MAX_RULES} rules for each table")
        rules.extend((name, RowRule.parse(each)) for each in of_table)
    return tuple(rules)


def _refuse(name: str, allowed: str) -> InvalidInput:
    return InvalidInput(f"the scope {name} must be {allowed}", name="scopes", code="invalid_scopes")


def _texts(name: str, value: object) -> frozenset[str]:
    allowed = f"a list of at most {MAX_ENTRIES} texts of 1 to {MAX_TEXT} characters"
    texts: list[str] = []
    for entry in _entries(name, value, allowed):
        if not isinstance(entry, str) or not 0 < len(entry) <= MAX_TEXT:
            raise _refuse(name, allowed)
        texts.append(entry)
    return frozenset(texts)


def _numbers(name: str, value: object) -> frozenset[int]:
    allowed = f"a list of at most {MAX_ENTRIES} whole numbers"
    numbers: list[int] = []
    for entry in _entries(name, value, allowed):
        if not isinstance(entry, int) or isinstance(entry, bool):
            raise _refuse(name, allowed)
        numbers.append(entry)
    return frozenset(numbers)


def _entries(name: str, value: object, allowed: str) -> Iterable[object]:
    if not isinstance(value, list | tuple) or len(value) > MAX_ENTRIES:
        raise _refuse(name, allowed)
    return value
