"""Watches tables: calls `flagent_cdc.watch()` and its siblings, and retries while a table is locked."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row

from ..database.database_url import read_database_url, redact
from ..database.driver_errors import driver_errors
from ..database.lock_retry import (
    Connection,
    Report,
    changing,
    connect,
    require_primary,
    retry_on_lock,
    set_lock_timeout,
)
from ..database.queries import query
from ..errors import InvalidInput
from .event_triggers import naming_event_triggers

__all__ = ["OPERATIONS", "ORDERS", "WatchOptions", "list_watched", "unwatch", "watch"]

logger = logging.getLogger(__name__)

OPERATIONS = ("insert", "update", "delete", "truncate")
ORDERS = ("commit", "read")

# The functions raise these with a sentence for the caller.
_REFUSALS = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.WrongObjectType,
    psycopg.errors.InvalidParameterValue,
    psycopg.errors.InvalidName,
)


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """How a table is watched.

    None means for `key` the table's own, where an empty one is no key; for `include` all columns; for `order` the
    lane's present order, for a new lane `commit`.
    """

    key: Sequence[str] | None = None
    include: Sequence[str] | None = None
    exclude: Sequence[str] | None = None
    mask: Sequence[str] = ()
    predicate: str | None = None
    operations: Sequence[str] = OPERATIONS
    lane: str = "flags"
    order: str | None = None


def watch(
    url: str, table: str, options: WatchOptions, report: Report = logger.info, *, deadline_s: float = 60.0
) -> str:
    """Watch a table, written as in SQL; answers `watched`, `changed` or `unchanged`.

    Raises `InvalidInput` for what cannot be watched so, `DatabaseRefused` without the rights, `LockNotAvailable`.
    """
    wish = {
        "table": table,
        "key": _listed(options.key),
        "include": _listed(options.include),
        "exclude": _listed(options.exclude),
        "mask": list(options.mask),
        "predicate": options.predicate,
        "operations": list(options.operations),
        "lane": options.lane,
        "lane_order": options.order,
    }
    return _change(url, "watch", wish, report, deadline_s)


def unwatch(url: str, table: str, report: Report = logger.info, *, deadline_s: float = 60.0) -> str:
    """Stop watching a table; answers `unwatched` or, where it was not watched, `unchanged`."""
    return _change(url, "unwatch", {"table": table}, report, deadline_s)


def list_watched(url: str) -> list[dict[str, Any]]:
    """Every watched table by schema and name, as the query `watched` describes it."""
    conninfo = read_database_url(url)
    with (
        driver_errors(redact(conninfo)),
        connect(conninfo) as connection,
        connection.cursor(row_factory=dict_row) as cursor,
    ):
        return cursor.execute(query("watched")).fetchall()


def _listed(columns: Sequence[str] | None) -> list[str] | None:
    return None if columns is None else list(columns)


def _change(url: str, name: str, wish: dict[str, Any], report: Report, deadline_s: float) -> str:
    conninfo = read_database_url(url)
    with driver_errors(redact(conninfo)), naming_event_triggers(conninfo), connect(conninfo) as connection:
        require_primary(connection, conninfo)
        return retry_on_lock(_once(connection, name, wish), f"table {wish['table']}", report, deadline_s)


def _once(connection: Connection, name: str, wish: dict[str, Any]) -> Callable[[], str]:
    def change() -> str:
        try:
            with changing(connection):
                set_lock_timeout(connection)
                row = connection.execute(query(name), wish).fetchone()
        except _REFUSALS as error:
            # An error without a context comes from PostgreSQL, which did not find the function.
            if error.diag.context is None:
                raise
            raise InvalidInput(error.diag.message_primary or str(error), name="table", code="not_watchable") from error
        return "" if row is None else str(row[0])

    return change
