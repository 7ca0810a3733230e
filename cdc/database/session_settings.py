"""What each of our sessions sets for itself, so that no default of the database or of the role matters to it.

A transaction pooler lends one session of the server to many clients. It keeps apart what the server reports of a
session, so that is set in any case; the rest only where the session is ours alone.
"""

from typing import Any, LiteralString

import psycopg

__all__ = ["CLIENT_ENCODING", "long_transaction_statement", "session_statements", "transaction_statements"]

CLIENT_ENCODING = "UTF8"
"""Asked for when the session is opened: what the server sends first depends on it already."""

# The driver reads dates and intervals in these forms alone; our statements are written for these strings.
_REPORTED = {
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "standard_conforming_strings": "on",
}

# Deadlines are our own: they allow for what is asked.
_OWN = {
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "array_nulls": "on",
    "transform_null_equals": "off",
    "quote_all_identifiers": "off",
    "plan_cache_mode": "auto",
    "check_function_bodies": "on",
    "plpgsql.extra_errors": "none",
    "plpgsql.extra_warnings": "none",
    "plpgsql.variable_conflict": "error",
}

_SINCE_17 = {"transaction_timeout": "0"}

_SET: LiteralString = (
    "select pg_catalog.set_config(w.name, w.setting, %s)"
    " from rows from (pg_catalog.unnest(%s::text[]), pg_catalog.unnest(%s::text[])) as w (name, setting)"
)
_WHERE_ALONE: LiteralString = " where pg_catalog.pg_backend_pid() operator(pg_catalog.=) %s"
_WHERE_POOLED: LiteralString = " where pg_catalog.pg_backend_pid() operator(pg_catalog.<>) %s"

# Names are PostgreSQL's own before all others. The rest of the path is left: `watch` finds tables by it.
_SET_SEARCH_PATH: LiteralString = (
    "select pg_catalog.set_config("
    "'search_path', pg_catalog.concat('pg_catalog, ', pg_catalog.current_setting('search_path')), %s)"
)
_AND_NOT_FIRST: LiteralString = (
    " and pg_catalog.strpos(pg_catalog.current_setting('search_path'), 'pg_catalog') operator(pg_catalog.>) 1"
)

Statement = tuple[LiteralString, tuple[Any, ...]]
AnyConnection = psycopg.Connection[Any] | psycopg.AsyncConnection[Any]


def session_statements(connection: AnyConnection) -> list[Statement]:
    """The statements with their parameters that a new session begins with."""
    info = connection.info
    differing = {name: value for name, value in _REPORTED.items() if info.parameter_status(name) != value}
    statements: list[Statement] = []
    if differing:
        statements.append((_SET, (False, list(differing), list(differing.values()))))
    return [*statements, *_own_statements(connection, _WHERE_ALONE, is_local=False)]


def transaction_statements(connection: AnyConnection) -> list[Statement]:
    """The statements that a transaction begins with which depends on all settings: behind a pool they hold for it
    alone, and elsewhere they do nothing."""
    return _own_statements(connection, _WHERE_POOLED, is_local=True)


def _own_statements(connection: AnyConnection, where: LiteralString, *, is_local: bool) -> list[Statement]:
    own = _OWN | (_SINCE_17 if connection.info.server_version >= 170000 else {})
    pid = connection.info.backend_pid
    return [
        (_SET_SEARCH_PATH + where + _AND_NOT_FIRST, (is_local, pid)),
        (_SET + where, (is_local, list(own), list(own.values()), pid)),
    ]


def long_transaction_statement(connection: psycopg.AsyncConnection[Any]) -> LiteralString:
    """The first statement of a reading transaction that may take long: without deadlines, also in a session of a
    pool."""
    # Takes no snapshot, unlike set_config().
    statement: LiteralString = "set local statement_timeout = 0; set local idle_in_transaction_session_timeout = 0"
    return statement + "; set local transaction_timeout = 0" if connection.info.server_version >= 170000 else statement
