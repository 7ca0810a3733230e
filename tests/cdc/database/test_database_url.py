"""The spellings of a database URL."""

import pytest
from psycopg.conninfo import conninfo_to_dict

from cdc.database.database_url import read_database_url, redact
from cdc.errors import (
    DatabaseError,
    DatabaseRefused,
    DatabaseUnavailable,
    FlagentCdcError,
    InvalidDatabaseUrl,
    LockNotAvailable,
    SchemaMissing,
    error_class,
    is_retryable,
)

FULL = {"host": "db", "port": "5433", "dbname": "flags", "user": "ann", "password": "p@ss/w:rd&x"}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("postgresql://ann:p%40ss%2Fw%3Ard&x@db:5433/flags", FULL),
        ("postgres://ann:p%40ss%2Fw%3Ard&x@db:5433/flags", FULL),
        ("  postgresql://db/flags\n", {"host": "db", "dbname": "flags"}),
        ("postgresql+psycopg://db/flags", {"host": "db", "dbname": "flags"}),
        ("host=db port=5433 dbname=flags user=ann password='p@ss/w:rd&x'", FULL),
        ("jdbc:postgresql://db:5433/flags?user=ann&password=p%40ss%2Fw%3Ard%26x", FULL),
        (
            "jdbc:postgresql://localhost:5432/flagent?user=flagent&password=flagent&sslmode=disable",
            {
                "host": "localhost", "port": "5432", "dbname": "flagent",
                "user": "flagent", "password": "flagent", "sslmode": "disable",
            },
        ),
        ("JDBC:postgresql://db/flags?ssl=true", {"host": "db", "dbname": "flags", "sslmode": "require"}),
        ("jdbc:postgresql://db/flags?currentSchema=tenant_7,%20public&loginTimeout=5", {
            "host": "db", "dbname": "flags", "options": "-c search_path=tenant_7,public",
        }),
        ("jdbc:postgresql://a:1,b:2/flags?targetServerType=primary", {
            "host": "a,b", "port": "1,2", "dbname": "flags", "target_session_attrs": "read-write",
        }),
        ("jdbc:postgresql:flags", {"dbname": "flags"}),
        ("jdbc:postgresql://[::1]:5432/flags?password=%25", {
            "host": "::1", "port": "5432", "dbname": "flags", "password": "%",
        }),
    ],
)  # fmt: skip
def test_accepted(text: str, parts: dict[str, str]) -> None:
    assert conninfo_to_dict(read_database_url(text)) == parts


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("mysql://ann:geheim@db/flags", "of kind 'mysql', which is not PostgreSQL"),
        ("jdbc:mysql://db/flags?password=geheim", "of kind 'jdbc:mysql'"),
        ("flagent.sqlite", "is no database URL: 'flagent.sqlite'"),
        ("postgresql://ann:geheim@db:port/flags?nonsense=1", "cannot be read"),
        ("postgresql://ann:gehe%zzim@db/flags", "cannot be read"),
        ("host=db colour=red password=geheim", "cannot be read"),
        ("jdbc:postgresql://ann:geheim@db/flags", "takes user and password as parameters"),
        ("jdbc:postgresql://[db/flags?password=geheim", "cannot be read"),
    ],
)
def test_refused_with_the_name_the_reason_and_the_allowed_form(text: str, said: str) -> None:
    with pytest.raises(InvalidDatabaseUrl) as caught:
        read_database_url(text, name="FLAGENT_DB_DBCONNECTIONSTR")
    message = str(caught.value)
    assert message.startswith("FLAGENT_DB_DBCONNECTIONSTR")
    assert said in message
    assert "geheim" not in message
    assert "gehe%zzim" not in message
    assert (caught.value.code, caught.value.name) == ("invalid_database_url", "FLAGENT_DB_DBCONNECTIONSTR")


@pytest.mark.parametrize(
    ("conninfo", "shown"),
    [
        ("postgresql://ann:geheim@db:5433/flags?sslmode=require", "postgresql://ann@db:5433/flags"),
        ("host=/run/postgresql dbname=flags password=geheim", "postgresql://%2Frun%2Fpostgresql/flags"),
        ("host=::1 dbname=flags", "postgresql://[::1]/flags"),
        ("", "postgresql://localhost/"),
        ("not a url", "the database"),
    ],
)
def test_a_redacted_url_has_no_secrets(conninfo: str, shown: str) -> None:
    assert redact(conninfo) == shown


@pytest.mark.parametrize(
    ("sqlstate", "kind", "again"),
    [
        (None, DatabaseUnavailable, True),
        ("08006", DatabaseUnavailable, True),
        ("57P01", DatabaseUnavailable, True),
        ("57P03", DatabaseUnavailable, True),
        ("53300", DatabaseUnavailable, True),
        ("25006", DatabaseUnavailable, True),
        ("55P03", LockNotAvailable, True),
        ("40P01", LockNotAvailable, True),
        ("40001", LockNotAvailable, True),
        ("28P01", DatabaseRefused, False),
        ("3D000", DatabaseRefused, False),
        ("42501", DatabaseRefused, False),
        ("42P01", SchemaMissing, False),
        ("42883", SchemaMissing, False),
        ("XX000", DatabaseError, False),
        ("22012", DatabaseError, False),
    ],
)
def test_which_errors_are_worth_another_try(sqlstate: str | None, kind: type[DatabaseError], again: bool) -> None:
    assert error_class(sqlstate) is kind
    assert is_retryable(error_class(sqlstate)("")) is again


def test_unknown_errors_are_fatal() -> None:
    assert not is_retryable(RuntimeError())
    assert not is_retryable(FlagentCdcError())
