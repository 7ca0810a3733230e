"""The driver's errors become ours at the edge, once, and never show a password."""

import psycopg
import pytest

from cdc.database.driver_errors import driver_errors, translate
from cdc.errors import (
    DatabaseError,
    DatabaseRefused,
    DatabaseUnavailable,
    InvalidDatabaseUrl,
    LockNotAvailable,
    SchemaMissing,
)


def test_driver_errors_become_ours_with_their_cause() -> None:
    with pytest.raises(LockNotAvailable, match="the database says: too slow") as caught, driver_errors("the database"):
        raise psycopg.errors.LockNotAvailable("too slow")
    assert caught.value.sqlstate == "55P03"
    assert isinstance(caught.value.__cause__, psycopg.errors.LockNotAvailable)
    with pytest.raises(DatabaseError, match="wrong use"), driver_errors("the database"):
        raise psycopg.NotSupportedError("wrong use")


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (psycopg.OperationalError("connection failed: refused"), DatabaseUnavailable, "db cannot be reached: refused"),
        (psycopg.OperationalError('FATAL:  password authentication failed for "a"'), DatabaseRefused, "db says: "),
        (psycopg.OperationalError('FATAL:  database "x" does not exist'), DatabaseRefused, 'db says: database "x"'),
        (psycopg.errors.UndefinedTable("no table"), SchemaMissing, "db says: no table"),
        (psycopg.errors.AdminShutdown("going\ndown"), DatabaseUnavailable, "db cannot be reached: going"),
        (psycopg.ProgrammingError("bad option"), InvalidDatabaseUrl, "the database URL cannot be read: bad option"),
        (psycopg.DataError("odd"), DatabaseError, "db: odd"),
    ],
)
def test_each_error_is_of_its_kind_with_the_first_line_as_the_reason(
    error: psycopg.Error, kind: type[Exception], text: str
) -> None:
    ours = translate(error, "db")
    assert type(ours) is kind
    assert str(ours).startswith(text)
    assert "\n" not in str(ours)
