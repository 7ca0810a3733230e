"""What our sessions set for themselves."""

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from cdc.database import connection, lock_retry

# What the driver and our statements rely on, under defaults that are otherwise.
WANTED = {
    "client_encoding": ("UTF8", "LATIN1"),
    "DateStyle": ("ISO, MDY", "German"),
    "IntervalStyle": ("postgres", "iso_8601"),
    "TimeZone": ("UTC", "Asia/Kathmandu"),
    "standard_conforming_strings": ("on", "off"),
    "statement_timeout": ("0", "1min"),
    "lock_timeout": ("0", "1min"),
    "idle_in_transaction_session_timeout": ("0", "1min"),
    "idle_session_timeout": ("0", "1min"),
    "default_transaction_isolation": ("read committed", "serializable"),
    "default_transaction_deferrable": ("off", "on"),
    "extra_float_digits": ("1", "0"),
    "bytea_output": ("hex", "escape"),
    "array_nulls": ("on", "off"),
    "transform_null_equals": ("off", "on"),
    "quote_all_identifiers": ("off", "on"),
    "check_function_bodies": ("on", "off"),
}


def set_defaults(url: str, values: dict[str, str]) -> None:
    database = sql.Identifier(str(conninfo_to_dict(url)["dbname"]))
    with psycopg.connect(url, autocommit=True) as owner:
        for name, value in values.items():
            values_of = sql.SQL(", ").join(map(sql.Literal, value.split(", ")))
            owner.execute(sql.SQL("alter database {} set {} = {}").format(database, sql.Identifier(name), values_of))


@pytest.fixture
def otherwise(empty_url: str) -> str:
    """A database whose defaults are all otherwise."""
    set_defaults(empty_url, {name: default for name, (_, default) in WANTED.items()})
    return empty_url


READ = b"select name, setting from pg_settings"


async def test_a_session_of_the_server_depends_on_no_default(otherwise: str) -> None:
    session = await connection.connect(otherwise, name="test")
    try:
        found = dict(await (await session.execute(READ)).fetchall())
    finally:
        await session.close()
    assert {name: found[name] for name in WANTED} == {name: wanted for name, (wanted, _) in WANTED.items()}


def test_a_session_of_a_command_depends_on_no_default(otherwise: str) -> None:
    with lock_retry.connect(otherwise) as session:
        found: dict[str, str] = dict(session.execute(READ).fetchall())
    assert {name: found[name] for name in WANTED} == {name: wanted for name, (wanted, _) in WANTED.items()}


def test_names_are_those_of_postgresql_before_all_others(empty_url: str) -> None:
    set_defaults(empty_url, {"search_path": "mine, pg_catalog"})
    with psycopg.connect(empty_url, autocommit=True) as owner:
        owner.execute("create schema mine")
        owner.execute("create function mine.to_regnamespace(text) returns text language sql as 'select ''mine'''")
        owner.execute("create table mine.orders ()")
    with lock_retry.connect(empty_url) as session:
        found = session.execute("select to_regnamespace('mine')::oid <> 0, 'orders'::regclass is not null").fetchone()
    assert found == (True, True)


def test_behind_a_pool_of_transactions_a_session_changes_what_the_pool_keeps_apart_alone(
    database_url: str, request: pytest.FixtureRequest
) -> None:
    # Before the pool opens its sessions.
    set_defaults(database_url, {"DateStyle": "German", "bytea_output": "escape", "statement_timeout": "1min"})
    with lock_retry.connect(request.getfixturevalue("pooled_url")) as session:
        found: dict[str, str] = dict(session.execute(READ).fetchall())
    assert found["DateStyle"] == "ISO, MDY"
    # Another client of the pool may get this session of the server next.
    assert (found["bytea_output"], found["statement_timeout"]) == ("escape", "60000")
