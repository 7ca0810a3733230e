"""Watching tables: what a locked table, a missing table and a missing installation lead to."""

import threading

import psycopg
import pytest

from cdc.admin.watched_tables import WatchOptions, list_watched, unwatch, watch
from cdc.errors import DatabaseError, InvalidInput, LockNotAvailable
from tests.fixtures.postgres import Postgres


@pytest.fixture
def orders_url(database_url: str) -> str:
    """A database with a table `analytics.orders`."""
    with psycopg.connect(database_url, autocommit=True) as session:
        session.execute(
            "create schema analytics; create table analytics.orders "
            "(id integer primary key, email text not null, total numeric, note text)"
        )
    return database_url


def test_the_outcome_is_whether_something_changed(orders_url: str) -> None:
    assert watch(orders_url, "analytics.orders", WatchOptions()) == "watched"
    assert watch(orders_url, "analytics.orders", WatchOptions()) == "unchanged"
    assert watch(orders_url, "analytics.orders", WatchOptions(mask=["email"])) == "changed"
    assert [(one["schema"], one["table"], one["mask"]) for one in list_watched(orders_url)] == [
        ("analytics", "orders", ["email"])
    ]
    assert unwatch(orders_url, "analytics.orders") == "unwatched"
    assert unwatch(orders_url, "analytics.orders") == "unchanged"
    assert list_watched(orders_url) == []


@pytest.mark.parametrize(
    ("table", "options"),
    [
        ("analytics.ordres", WatchOptions()),
        ("analytics.orders", WatchOptions(key=["number"])),
        ("analytics.orders", WatchOptions(predicate="total >")),
        ("flags", WatchOptions()),
    ],
)
def test_what_cannot_be_watched_is_invalid_input(orders_url: str, table: str, options: WatchOptions) -> None:
    with pytest.raises(InvalidInput) as caught:
        watch(orders_url, table, options)
    assert (caught.value.name, caught.value.code) == ("table", "not_watchable")


def test_a_missing_installation_is_an_error_of_the_database(empty_url: str) -> None:
    with pytest.raises(DatabaseError, match="flagent_cdc"):
        watch(empty_url, "t", WatchOptions())


def test_watching_waits_for_a_busy_table_without_holding_up_its_writers(orders_url: str) -> None:
    reports: list[str] = []
    with psycopg.connect(orders_url) as holder, psycopg.connect(orders_url, autocommit=True) as other:
        holder.execute("insert into analytics.orders values (1, 'a', 1, '')")
        with pytest.raises(LockNotAvailable, match=r"table analytics.orders: locked by other sessions"):
            watch(orders_url, "analytics.orders", WatchOptions(), reports.append, deadline_s=0.3)
        assert reports == ["table analytics.orders: in use by another session; trying again until it is free"]
        outcome: list[str] = []
        watching = threading.Thread(
            target=lambda: outcome.append(watch(orders_url, "analytics.orders", WatchOptions(), reports.append))
        )
        watching.start()
        other.execute("set lock_timeout = '2s'")
        for number in range(2, 20):
            other.execute("insert into analytics.orders values (%s, 'a', 1, '')", (number,))
        assert outcome == []
        holder.commit()
        watching.join(timeout=30)
        assert outcome == ["watched"]


def test_several_may_watch_the_same_table_at_once(orders_url: str, postgres: Postgres) -> None:
    outcomes: list[str] = []
    watchers = [
        threading.Thread(target=lambda: outcomes.append(watch(orders_url, "analytics.orders", WatchOptions())))
        for _ in range(4)
    ]
    for watcher in watchers:
        watcher.start()
    for watcher in watchers:
        watcher.join(timeout=30)
    assert sorted(outcomes) == ["unchanged"] * 3 + ["watched"]
