"""The edge to the driver: psycopg's errors become ours here, once, and never show a password."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from ..errors import DatabaseError, DatabaseUnavailable, InvalidDatabaseUrl, error_class

__all__ = ["driver_errors", "translate"]

# libpq names addresses that it tried, one a line; the reason is what a reader needs.
_NOISE = re.compile(r"^(connection failed: )?(connection to server at .*? failed: )?(FATAL: +|ERROR: +)?", re.DOTALL)


def translate(error: psycopg.Error, target: str) -> DatabaseError | InvalidDatabaseUrl:
    """Our error for a driver error; `target` says which database, redacted."""
    sqlstate = error.sqlstate
    first_line = _NOISE.sub("", str(error)).strip().split("\n")[0].strip()
    if isinstance(error, psycopg.ProgrammingError) and sqlstate is None:
        # raised by the driver itself while it reads the connection string
        return InvalidDatabaseUrl(f"the database URL cannot be read: {first_line}")
    if sqlstate is None and not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return DatabaseError(f"{target}: {first_line}")
    if sqlstate is None and ("password" in first_line or "pg_hba" in first_line or "does not exist" in first_line):
        # libpq hands over a failed login as text alone
        kind: type[DatabaseError] = error_class("28000")
    else:
        kind = error_class(sqlstate)
    verb = "cannot be reached" if kind is DatabaseUnavailable else "says"
    return kind(f"{target} {verb}: {first_line}", sqlstate=sqlstate)


@contextmanager
def driver_errors(target: str) -> Iterator[None]:
    """Raise our errors instead of psycopg's, with the cause kept; for `with` around every use of the driver."""
    try:
        yield
    except psycopg.Error as error:
        raise translate(error, target) from error
