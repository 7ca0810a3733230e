"""Finds the lane that a subscription belongs to."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ..errors import InvalidInput
from ..log.lane import FLAGS, Lane, WatchedTable
from ..log.table_name import both_ways, qualified
from .selection import Selection, Selections

__all__ = ["LaneMap"]


@dataclass(frozen=True, slots=True)
class LaneMap:
    """The watched tables, by the names that subscriptions use for them."""

    tables: tuple[WatchedTable, ...] = ()
    _by_name: dict[str, list[WatchedTable]] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        for table in self.tables:
            for name in both_ways(qualified(table.schema, table.table), table.schema):
                self._by_name.setdefault(name, []).append(table)

    @property
    def lanes(self) -> frozenset[Lane]:
        return frozenset(table.lane for table in self.tables)

    def knows(self, name: str) -> bool:
        """Whether a watched table has this name, with its schema or without."""
        return name in self._by_name

    @property
    def names(self) -> list[str]:
        """Every watched table, with its schema."""
        return [table.name for table in self.tables]

    def altered_since(self, earlier: "LaneMap") -> bool:
        """Whether a table that was watched already has other columns now."""
        columns = {table.name: table.columns for table in earlier.tables}
        return any(table.name in columns and columns[table.name] != table.columns for table in self.tables)

    def named(self, names: Iterable[str]) -> list[WatchedTable]:
        """The watched tables that these names mean, each once."""
        found = {table.name: table for name in names for table in self._by_name.get(name, ())}
        return [found[name] for name in sorted(found)]

    def of(self, selections: Selections) -> Lane:
        """The lane of everything that is selected; the flags' lane for tables that are not watched.

        Raises `InvalidInput` where there is more than one. A table that a grant hides counts as not watched.
        """
        first: tuple[str, Lane] | None = None
        for clause in selections.clauses:
            for what, lane in self._parts(clause):
                if first is None:
                    first = what, lane
                elif lane != first[1]:
                    raise InvalidInput(
                        f"{first[0]} belongs to the lane {first[1].name}, and {what} to the lane {lane.name}: "
                        "subscribe to each lane on a separate connection",
                        name="table",
                        code="several_lanes",
                    )
        return FLAGS if first is None else first[1]

    def _parts(self, clause: Selection) -> Iterator[tuple[str, Lane]]:
        if clause.everything or clause.flag_keys or clause.flag_ids or clause.tags or clause.segments:
            yield "what is selected of flags", FLAGS
        for name in sorted(clause.tables):
            for table in self._visible(clause, self._by_name.get(name, ())):
                yield qualified(table.schema, table.table), table.lane

    def _visible(self, clause: Selection, tables: Iterable[WatchedTable]) -> Iterator[WatchedTable]:
        for table in tables:
            if clause.schemas and table.schema not in clause.schemas:
                continue
            if clause.grant is None or clause.grant.allows_table(table.schema, qualified(table.schema, table.table)):
                yield table
