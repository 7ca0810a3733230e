"""What each of our sessions sets for itself, so that no default of the database or of the role matters to it.

A transaction pooler lends one session of the server to many clients. It keeps apart what the server reports of a
session, so that is set in any case; the rest only where the session is ours alone.
"""

from typing import Any, LiteralString

import psycopg

__all__ = ["CLIENT_ENCODING", "session_statements"]

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
}

_SINCE_17 = {"transaction_timeout": "0"}

_SET: LiteralString = (
    "select pg_catalog.set_config(w.name, w.setting, false)"
    " from rows from (pg_catalog.unnest(%s::text[]), pg_catalog.unnest(%s::text[])) as w (name, setting)"
)
_SET_WHERE_ALONE: LiteralString = _SET + " where pg_catalog.pg_backend_pid() = %s"

Statement = tuple[LiteralString, tuple[Any, ...]]


def session_statements(
    connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any], *, keeps_defaults: bool = False
) -> list[Statement]:
    """The statements with their parameters that a new session begins with; `keeps_defaults` leaves it all that the
    driver can do with, for a session that looks at them."""
    info = connection.info
    differing = {name: value for name, value in _REPORTED.items() if info.parameter_status(name) != value}
    own = _OWN | (_SINCE_17 if info.server_version >= 170000 else {})
    statements: list[Statement] = []
    if differing:
        statements.append((_SET, (list(differing), list(differing.values()))))
    if not keeps_defaults:
        statements.append((_SET_WHERE_ALONE, (list(own), list(own.values()), info.backend_pid)))
    return statements
