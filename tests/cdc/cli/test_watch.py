"""`flagent-cdc watch` and `unwatch` as a person uses them."""

import json

import psycopg
import pytest

from cdc.cli import main

ORDERS = """
create schema analytics;
create table analytics.orders (id integer primary key, email text not null, total numeric, note text);
"""


@pytest.fixture
def orders_url(database_url: str) -> str:
    """A database with a table `analytics.orders`."""
    with psycopg.connect(database_url, autocommit=True) as session:
        session.execute(ORDERS)
    return database_url


def run(capsys: pytest.CaptureFixture[str], *arguments: str, url: str, code: int = 0) -> str:
    assert main([*arguments, "--database-url", url], {}) == code
    said = capsys.readouterr()
    return (said.out if code == 0 else said.err).strip()


def test_a_table_is_watched_listed_and_watched_no_longer(orders_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = (
        "--mask", "email", "--exclude", "note", "--key", "id", "--where", "total > 100",
        "--operation", "insert", "--operation", "delete",
    )  # fmt: skip
    said = run(capsys, "watch", "analytics.orders", *options, url=orders_url)
    assert said == "analytics.orders: watched"
    said = run(capsys, "watch", "analytics.orders", *options, url=orders_url)
    assert said == "analytics.orders: already watched with these options"
    assert run(capsys, "watch", "--list", url=orders_url) == (
        "analytics.orders; key id; columns id, total; masked email; where total > 100; only insert, delete"
    )
    assert json.loads(run(capsys, "watch", "--list", "--json", url=orders_url)) == {
        "schema": "analytics",
        "table": "orders",
        "key": ["id"],
        "include": ["id", "email", "total"],
        "mask": ["email"],
        "operations": ["insert", "delete"],
        "predicate": "total > 100",
        "lane": "flags",
        "order": "commit",
        "problems": [],
    }
    said = run(capsys, "watch", "analytics.orders", "--no-key", url=orders_url)
    assert said == "analytics.orders: options updated"
    assert run(capsys, "watch", "--list", url=orders_url) == "analytics.orders; key the whole row"
    run(capsys, "watch", "analytics.orders", "--lane", "orders", "--order", "read", url=orders_url)
    assert run(capsys, "watch", "--list", url=orders_url) == "analytics.orders; key id; lane orders, ordered when read"
    with psycopg.connect(orders_url, autocommit=True) as session:
        session.execute("drop table analytics.orders")
    assert run(capsys, "watch", "--list", url=orders_url).splitlines()[1] == "  ! the table is gone"
    said = run(capsys, "unwatch", "analytics.orders", url=orders_url)
    assert said == "analytics.orders: no longer watched"
    said = run(capsys, "unwatch", "analytics.orders", url=orders_url)
    assert said == "analytics.orders: not watched, nothing to do"
    assert run(capsys, "watch", "--list", url=orders_url) == ""


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["watch", "analytics.ordres"], "flagent-cdc: there is no table analytics.ordres"),
        (["watch", "flags"], "flagent-cdc: public.flags is one of Flagent's tables"),
        (["watch", "analytics.orders", "--mask", "e"], "analytics.orders has no column e; it has id, email, total"),
        (["watch", "analytics.orders", "--where", "amount > 1"], 'column "amount" does not exist'),
        (["watch"], "name a TABLE to watch"),
        (["watch", "analytics.orders", "--json"], "name a TABLE to watch"),
        (["watch", "--list", "analytics.orders"], "--list shows all watched tables"),
        (["watch", "--list", "--mask", "email"], "--list shows all watched tables"),
    ],
)
def test_bad_input_gets_one_sentence(
    orders_url: str, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    said = run(capsys, *arguments, url=orders_url, code=2)
    assert sentence in said
    assert "\n" not in said


def test_a_database_without_flagent_cdc_says_so(empty_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["watch", "t"], ["unwatch", "t"], ["watch", "--list"]):
        assert "flagent_cdc" in run(capsys, *arguments, url=empty_url, code=2)
