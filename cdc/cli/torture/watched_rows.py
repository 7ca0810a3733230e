"""Watched tables beside the flags, one of each order: what their logs say in the end is what the tables hold."""

import json
import random
import time
from collections.abc import Iterator, Mapping
from operator import itemgetter
from typing import Any, LiteralString

import psycopg
from psycopg.sql import SQL, Identifier
from psycopg.types.json import set_json_loads

from cdc.admin.watched_tables import WatchOptions, unwatch, watch
from cdc.cli.torture.verdict import Kind, Violation, divergences_of_rows
from cdc.database.database_url import redact
from cdc.database.driver_errors import driver_errors
from cdc.database.lock_retry import connect
from cdc.database.queries import log_query, query

__all__ = ["WatchedRows", "write_rows"]

# By order; the lanes are the same in each run, since a lane stays when its tables are gone.
_TABLES: Mapping[str, LiteralString] = {"commit": "torture_commit", "read": "torture_read"}

_IDS = range(1, 49)
_PARENTS = range(1, 5)

_SETTINGS: Mapping[str, tuple[str, ...]] = {
    "time_zone": ("UTC", "Asia/Kathmandu", "America/St_Johns"),
    "date_style": ("ISO, MDY", "German, DMY", "SQL, DMY", "Postgres, MDY"),
    "interval_style": ("postgres", "iso_8601", "sql_standard", "postgres_verbose"),
    "bytea_output": ("hex", "escape"),
    "float_digits": ("1", "0", "-5"),
}

# Older transactions of other sessions hold commits back in a lane ordered when read.
_HORIZON_S = 30.0

_PAGE = 1000


def write_rows(connection: psycopg.Connection[Any], rng: random.Random, mark: int) -> None:
    """Write into both tables, in the open transaction, in one of the ways that are hard to capture."""
    connection.execute(query("torture_settings"), {name: rng.choice(each) for name, each in _SETTINGS.items()})
    # In one order, as the flags before them: most of the deadlocks left are those of the deferred foreign keys.
    for table in sorted(rng.sample(sorted(_TABLES.values()), rng.choice([1, 2, 2]))):
        for id in sorted(rng.sample(_IDS, rng.choice([1, 1, 2, 4]))):
            statement = "torture_delete" if rng.random() < 0.1 else "torture_row"
            parameters = {"id": id, "mark": mark, "parent": rng.choice(_PARENTS)}
            connection.execute(SQL(query(statement)).format(table=Identifier(table)), parameters)
    if rng.random() < 0.05:
        # Others that refer to it wait for this transaction at their COMMIT.
        parent = {"parent": rng.choice(_PARENTS), "mark": mark}
        connection.execute(query("torture_parents"), parent)
        connection.execute(query("torture_parent"), parent)
    if rng.random() < 0.2:
        connection.execute("set constraints all immediate")


class WatchedRows:
    """The tables in the schema of a run. Used by one thread."""

    def __init__(self, url: str, schema: str) -> None:
        self._url = url
        self._schema = schema

    def create(self) -> None:
        """Create and watch the tables; the triggers on flags too, which belong to the same scene."""
        with driver_errors(redact(self._url)), connect(self._url) as connection, connection.transaction():
            connection.execute(SQL("set local search_path to {}").format(Identifier(self._schema)))
            connection.execute(query("torture_tables"))
        for order, table in _TABLES.items():
            options = WatchOptions(lane=_lane(table), order=order)
            watch(self._url, f"{self._schema}.{table}", options, report=_silent)

    def remove(self) -> None:
        for table in _TABLES.values():
            unwatch(self._url, f"{self._schema}.{table}", report=_silent)

    def violations(self) -> Iterator[Violation]:
        """Where the fold of a log differs from its table, text by text; the writers have ended."""
        with driver_errors(redact(self._url)), connect(self._url) as connection:
            set_json_loads(_texts, connection)
            for order, table in _TABLES.items():
                (lane,) = connection.execute(query("torture_lane"), {"name": _lane(table)}).fetchall()[0]
                if order == "read" and not self._wait_for_horizon(connection, lane):
                    yield Violation(Kind.LOST, f"the changes of {table} were held back for {_HORIZON_S:.0f} s")
                statement = SQL(query("torture_table_rows")).format(table=Identifier(self._schema, table))
                held = {id: _texts(text) for id, text in connection.execute(statement).fetchall()}
                yield from divergences_of_rows(table, self._fold(connection, order, lane, table), held)

    def _fold(
        self, connection: psycopg.Connection[Any], order: str, lane: int, table: str
    ) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {}
        changes: list[Any] = []
        position = 0
        name = log_query("commits_after", "read" if order == "read" else "commit")
        while rows := connection.execute(
            name, {"lane": lane, "position": position, "limit": _PAGE, "most": 2**62}
        ).fetchall():
            position = rows[-1][0]
            changes += rows
        if order == "read":
            # Transactions come in the order of their ids there; the number of a change orders those of a row.
            changes.sort(key=itemgetter(6))
        for *_, schema, name_of_table, op, _before, after, key in changes:
            if (schema, name_of_table) != (self._schema, table):
                continue
            if op == "delete":
                found.pop(key["id"], None)
            elif op == "truncate":
                found.clear()
            else:
                found[key["id"]] = after
        return found

    def _wait_for_horizon(self, connection: psycopg.Connection[Any], lane: int) -> bool:
        deadline = time.monotonic() + _HORIZON_S
        while True:
            row = connection.execute(log_query("log_state", "read"), {"lane": lane}).fetchone()
            if row is None or not row[-1]:
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)


def _lane(table: str) -> str:
    return table.replace("_", "-")


def _texts(text: str | bytes) -> Any:
    """A row with its numbers as they are written."""
    return json.loads(text, parse_float=str, parse_int=str)


def _silent(_line: str) -> None:
    """Reports are about the run, not about its set-up."""
