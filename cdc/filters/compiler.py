"""Compiles filters for the tables that are watched now.

What a client asks for and what its credential imposes become one `RowFilter` per table. Equal filters are one object,
so that an event is matched once for all who have it, and ten thousand connections of one tenant hold one filter.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar
from weakref import WeakValueDictionary

from ..core.errors import InvalidInput
from ..core.interned import interned
from ..core.log.lane import WatchedTable
from ..core.log.table_column import TableColumn
from ..core.log.table_name import without_schema
from ..core.row_filter.binding import ClaimMissing, Sql, bind, refuse, sql_of
from ..core.row_filter.expression import Condition, claims_of
from ..core.row_filter.row_filter import RowFilter
from ..core.row_filter.row_query import RowQuery
from ..core.row_filter.row_rule import RowRule
from ..core.subscription.grant import EVERYTHING, Grant
from ..core.subscription.lane_map import LaneMap
from ..core.subscription.selection import Selection, Selections

__all__ = ["FilterCompiler", "check_one_filter", "check_rules_of_key", "claim_paths"]

T = TypeVar("T")


class _Source(NamedTuple):
    """What one filter is compiled of."""

    table: WatchedTable
    query: RowQuery | None
    rules: tuple[RowRule, ...]

    def sql(self) -> Sequence[Sql]:
        return list(_each(self, sql_of))


class FilterCompiler:
    """Keeps the filters that are in use."""

    def __init__(self) -> None:
        self._filters: WeakValueDictionary[_Source, RowFilter] = WeakValueDictionary()

    def compiled(self, selection: Selection, tables: LaneMap) -> Selection:
        """The selection with the filters of its tables; raises `InvalidInput`.

        What a grant hides does not exist: a table or a column that is hidden gets the error of one that is missing.
        """
        query, grant = selection.row_query, selection.grant or EVERYTHING
        if not selection.tables or (query is None and not grant.rows):
            return selection if not selection.row_filters else replace(selection, row_filters=())
        found = [table for table in tables.named(selection.tables) if _shows(grant, selection, table)]
        if query is not None:
            _sole(selection.tables, found)
        elif not any(grant.rules_of(table.schema, table.name) for table in found):
            return replace(selection, row_filters=())
        filters = [self.filter(table, query, grant.rules_of(table.schema, table.name)) for table in found]
        # Its own query is equal to that of the filter, which all clients with the same filter share.
        source = filters[0].source
        return replace(selection, row_query=query if source is None else source.query, row_filters=tuple(filters))

    def all_compiled(self, selections: Selections, tables: LaneMap) -> Selections:
        """The same for every clause; raises `InvalidInput` also where two clauses filter one table differently."""
        found = replace(selections, clauses=tuple(self.compiled(clause, tables) for clause in selections.clauses))
        check_one_filter(found)
        return found

    def filter(self, table: WatchedTable, query: RowQuery | None, rules: tuple[RowRule, ...]) -> RowFilter:
        source = _Source(table, query, rules)
        found = self._filters.get(source)
        if found is None:
            source, found = _compile(source)
            self._filters[source] = found
        return found


def check_one_filter(selections: Selections) -> None:
    """Raises `InvalidInput` where the rows of a table are selected in two ways: an event is sent once, in one way."""
    if not selections.filters_rows:
        return
    seen: dict[str, RowFilter] = {}
    for clause in selections.clauses:
        for filter in clause.row_filters:
            if seen.setdefault(filter.table, filter) is not filter:
                raise _several(filter.table)
    names = {name for table in seen for name in (table, without_schema(table))}
    for clause in selections.clauses:
        filtered = {name for each in clause.row_filters for name in (each.table, without_schema(each.table))}
        for name in clause.tables - filtered:
            if name in names:
                raise _several(name)


def claim_paths(where: str) -> frozenset[str]:
    """The claims that a rule's condition reads; raises `InvalidInput` where it cannot be parsed."""
    return claims_of(_parsed(where, with_claims=True))


def check_rules_of_key(grant: Grant) -> None:
    """Raises `InvalidInput` where a key must not be made with these rules: their conditions cannot be parsed, or read
    claims, which only tokens have."""
    for table, rule in grant.rows:
        if rule.where is not None and claim_paths(rule.where):
            raise InvalidInput(
                f"the rule for {table[:64]} reads a claim, and an API key has none: compare with a value instead",
                name="rows",
                code="invalid_scopes",
            )


def _parsed(where: str, *, with_claims: bool = False) -> Condition:
    # Imported late: it takes an eighth of a second, and most servers filter nothing.
    from .parser import parse_filter

    return parse_filter(where, with_claims=with_claims)


def _compile(source: _Source) -> tuple[_Source, RowFilter]:
    """The filter, and its source, which shares what it may with those of other filters."""
    table, query, rules = source
    visible, allowed = _visible(table, rules)
    keys = {column.name for column in table.columns if column.is_key and not column.is_hidden}
    chosen = None if allowed is None else frozenset(allowed | keys)
    if query is not None and query.columns is not None:
        _check_columns(query.columns, visible)
        chosen = frozenset({*query.columns} | keys)
    if query is not None and query.where is None and query.parameters:
        raise refuse("parameters were given without a filter")
    try:
        conditions, is_empty = list(_each(source, bind)), False
    except ClaimMissing:
        conditions, is_empty = [], True
    if query is not None:
        # Filters of thousands of clients differ in a parameter, and share the rest.
        query = RowQuery(interned(query.where), query.parameters, interned(query.columns))
        source = _Source(table, query, rules)
    name, columns = interned(table.name), interned(chosen)
    return source, RowFilter(name, conditions, columns, source=source, is_granted=bool(rules), is_empty=is_empty)


def _each(source: _Source, make: Callable[..., T]) -> Iterator[T]:
    """Every condition, made by `bind` or `sql_of`: a rule's reads all columns, the client's the visible ones."""
    table, query, rules = source
    columns = {column.name: column for column in table.columns if not column.is_hidden}
    for rule in rules:
        if rule.where is not None:
            try:
                yield make(_parsed(rule.where, with_claims=True), columns, (), rule.values)
            except InvalidInput as error:
                # What the rule says is not for its holder, who cannot mend it either.
                text = "the scopes of this credential do not fit this table"
                if error.code == "claim_type":
                    text = "a claim of this credential has the wrong type for this table"
                raise InvalidInput(text, name="rows", code="invalid_rows") from error
    if query is not None and query.where is not None:
        yield make(_parsed(query.where), _visible(table, rules)[0], query.parameters)


def _visible(table: WatchedTable, rules: Iterable[RowRule]) -> tuple[Mapping[str, TableColumn], set[str] | None]:
    """The columns that exist for the client, and the names that rules allow, None where none of them says."""
    columns = {column.name: column for column in table.columns if not column.is_hidden}
    allowed: set[str] | None = None
    for rule in rules:
        if rule.columns is not None:
            named = set(rule.columns) & columns.keys()
            allowed = named if allowed is None else allowed & named
    return (columns if allowed is None else {name: columns[name] for name in columns if name in allowed}), allowed


def _check_columns(names: Iterable[str], visible: Mapping[str, TableColumn]) -> None:
    for name in names:
        if name not in visible:
            raise InvalidInput(
                f"there is no column {name[:64]}; there are {', '.join(visible)[:400]}",
                name="columns",
                code="unknown_column",
            )


def _shows(grant: Grant, selection: Selection, table: WatchedTable) -> bool:
    if selection.schemas and table.schema not in selection.schemas:
        return False
    return grant.allows_table(table.schema, table.name)


def _sole(names: Iterable[str], found: Sequence[WatchedTable]) -> None:
    name = ", ".join(sorted(names))[:64]
    if not found:
        raise InvalidInput(
            f"no table {name!r} is watched, so its rows cannot be filtered", name="table", code="unknown_table"
        )
    if len(found) > 1:
        raise InvalidInput(
            f"a filter is for one table, but {name!r} names {', '.join(table.name for table in found)[:400]}",
            name="table",
            code="several_tables",
        )


def _several(table: str) -> InvalidInput:
    return InvalidInput(
        f"the rows of {table} are selected with two different filters; use one connection for each",
        name="where",
        code="several_filters",
    )
