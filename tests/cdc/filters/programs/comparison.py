"""Compares what a filter makes of random rows with what PostgreSQL makes of them, in two ways: the text as it is, and
the condition that `flagent_cdc.filter_condition` writes."""

import json
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from cdc.core.errors import InvalidInput
from cdc.core.log.row_text import RowText
from cdc.core.log.table_column import TableColumn
from cdc.core.row_filter.binding import Sql, bind, sql_of
from cdc.core.row_filter.expression import Constant
from cdc.core.row_filter.matcher import Test
from cdc.database.queries import query
from cdc.filters.parser import parse_filter

from .conditions import random_condition
from .rows import COLUMNS, TABLE, TYPES, random_row

__all__ = ["Comparison", "Tally", "prepare"]

ROWS = 40


class Tally(NamedTuple):
    """How many pairs of a row and a condition were compared, and how many conditions filters refuse."""

    pairs: int
    refused: int
    differences: Sequence[str]


def prepare(connection: psycopg.Connection[Any]) -> None:
    """Create the table and watch it."""
    for statement in (*TABLE, "select flagent_cdc.watch('pairs')"):
        connection.execute(statement.encode())
    # The capture's settings: a time without a zone is in UTC.
    connection.prepare_threshold = None
    connection.execute("set timezone = 'UTC'")
    connection.execute("set datestyle = 'ISO, MDY'")


class Comparison:
    """Random rows in `pairs`, and conditions about them."""

    def __init__(self, connection: psycopg.Connection[Any], seed: int) -> None:
        self._connection = connection
        self._choose = random.Random(seed)
        self._columns = self._read_columns()
        self._tables: dict[int, RowText] = {}

    def run(self, pairs: int) -> Tally:
        """Compare at least so many pairs."""
        compared = refused = 0
        differences: list[str] = []
        while compared < pairs:
            if compared % (ROWS * 10) == 0:
                self._fill()
            text, parameters = random_condition(self._choose)
            try:
                constants = [Constant("parameter", each) for each in parameters]
                bound = bind(parse_filter(text), self._columns, constants)
            except InvalidInput as error:
                refused += 1
                if error.code not in ("invalid_filter", "collation"):
                    differences.append(f"{text!r} {parameters}: refused as {error.code}: {error}")
                continue
            found = {number for number, row in self._tables.items() if _test(bound.test, row)}
            told = self._ask(text, parameters)
            written = self._written(sql_of(parse_filter(text), self._columns, constants))
            for who, answer in (("PostgreSQL", told), ("filter_condition", written)):
                if answer != found and not _is_known(answer, parameters):
                    odd = min(found ^ answer) if isinstance(answer, set) else None
                    row = None if odd is None else self._tables[odd].text
                    differences.append(f"{text!r} {parameters}: {who} says {answer}, the filter {sorted(found)}; {row}")
            compared += len(self._tables)
        return Tally(compared, refused, differences)

    def _read_columns(self) -> dict[str, TableColumn]:
        rows = self._connection.execute(query("watched_lanes")).fetchall()
        (columns,) = [row[5] for row in rows if row[1] == "pairs"]
        return {raw["name"]: TableColumn.of_json(raw) for raw in columns}

    def _fill(self) -> None:
        self._connection.execute("truncate pairs")
        names = ("n", *COLUMNS)
        insert = sql.SQL("insert into pairs ({}) values ({})").format(
            sql.SQL(", ").join(map(sql.Identifier, names)),
            sql.SQL(", ").join(
                sql.SQL("{}::{}").format(sql.Placeholder(f"p{place}"), sql.SQL(TYPES[name]))
                for place, name in enumerate(names)
            ),
        )
        for number in range(1, ROWS + 1):
            row = random_row(self._choose, number)
            self._connection.execute(insert, {f"p{place}": row[name] for place, name in enumerate(names)})
        rows = self._connection.execute("select n, to_json(p.*)::text from pairs p").fetchall()
        self._tables = {row[0]: RowText(row[1]) for row in rows}

    def _ask(self, text: str, parameters: Sequence[str | None]) -> set[int] | str:
        """PostgreSQL's own reading of the text; its parameters are bound without a type."""
        names = ", ".join(["unknown"] * len(parameters))
        try:
            with self._connection.transaction():
                head = f"prepare pair ({names}) as" if parameters else "prepare pair as"
                self._connection.execute(f"{head} select n from pairs where {text}".encode())
                values = sql.SQL(", ").join(map(sql.Literal, parameters))
                execute = sql.SQL("execute pair ({})").format(values) if parameters else sql.SQL("execute pair")
                found = {row[0] for row in self._connection.execute(execute).fetchall()}
        except psycopg.Error as error:
            return str(error).partition("\n")[0]
        finally:
            self._connection.execute("deallocate all")
        return found

    def _written(self, written: Sql) -> set[int] | str:
        condition = json.dumps(written)
        names = ["n", *COLUMNS]
        try:
            with self._connection.transaction():
                found_text = self._connection.execute(
                    "select flagent_cdc.filter_condition('pairs'::regclass, %s::text[], %s::jsonb)", (names, condition)
                ).fetchone()
                text = "" if found_text is None else found_text[0]
                statement = f"prepare pair (jsonb) as select n from pairs flagent_cdc_row where {text}"
                self._connection.execute(statement.encode())
                execute = sql.SQL("execute pair ({})").format(sql.Literal(condition))
                found = {row[0] for row in self._connection.execute(execute).fetchall()}
        except psycopg.Error as error:
            return str(error).partition("\n")[0]
        finally:
            self._connection.execute("deallocate all")
        return found


def _is_known(answer: object, parameters: Sequence[str | None]) -> bool:
    """A number as a parameter may have more digits than its column, which PostgreSQL refuses for want of its type."""
    return (
        bool(parameters)
        and isinstance(answer, str)
        and ("type integer" in answer or "type bigint" in answer or "type smallint" in answer)
    )


def _test(test: Test, row: RowText) -> bool:
    try:
        return test(row) is True
    except (ValueError, ArithmeticError, TypeError):
        return False
