"""Rows of watched tables: what writers leave is what the logs lead to, and a difference is found."""

import random

import psycopg
import pytest

from cdc.cli.torture.watched_rows import WatchedRows, write_rows


@pytest.fixture
def rows(database_url: str) -> WatchedRows:
    rows = WatchedRows(database_url, "public")
    rows.create()
    return rows


def write(url: str, commits: int) -> None:
    rng = random.Random("seed/1")
    with psycopg.connect(url, autocommit=True) as connection:
        for mark in range(1, commits + 1):
            with connection.transaction():
                write_rows(connection, rng, mark)
            with connection.transaction(force_rollback=True):
                write_rows(connection, rng, mark + 1000)


def test_the_changes_of_many_hard_transactions_lead_to_the_tables(rows: WatchedRows, database_url: str) -> None:
    write(database_url, 60)
    with psycopg.connect(database_url) as connection:
        held = connection.execute(
            "select (select count(*) from torture_commit where version > 1), (select count(*) from torture_read)"
        ).fetchone()
    assert held is not None
    assert min(held) > 0
    assert list(rows.violations()) == []


@pytest.mark.parametrize("table", ["torture_commit", "torture_read"])
def test_a_row_that_no_change_led_to_is_a_violation(rows: WatchedRows, database_url: str, table: str) -> None:
    write(database_url, 10)
    with psycopg.connect(database_url) as connection:
        connection.execute(f"alter table {table} disable trigger all".encode())
        connection.execute(f"update {table} set version = -1 where id = (select min(id) from {table})".encode())
    (violation,) = rows.violations()
    assert f"the changes of {table} lead to" in str(violation)


def test_what_it_watched_is_not_watched_in_the_end(rows: WatchedRows, database_url: str) -> None:
    rows.remove()
    with psycopg.connect(database_url) as connection:
        assert connection.execute("select count(*) from flagent_cdc.watched_table").fetchone() == (0,)
