"""Poison: values that break readers are delivered or marked, and a lost one is found."""

import random

import psycopg
import pytest

from cdc.cli.sse import Block
from cdc.cli.torture.poison import TABLE, PoisonTable, RowSubscriber, write_poison

EVENT = '{"type":"%s","id":"%s","table":"s.torture_poison","key":{"id" : %s},"before":null,"after":%s%s}'


def event(kind: str, id: str, row: int, after: str, more: str = "") -> Block:
    return Block(event=kind, id=id, data=EVENT % (kind, id, row, after, more))


@pytest.fixture
def subscriber() -> RowSubscriber:
    subscriber = RowSubscriber((1,), "s", "seed")
    rows = '{"table":"s.torture_poison","rows":[{"key":{"id" : 1},"row":{"id":1,"mark":5,"amount":1e9999}},'
    subscriber.take(Block(event="rows", data=rows + '{"key":{"id" : 2},"row":null,"unreadable":"too_large"}]}'))
    subscriber.take(Block(event="rows_end", id="3@log", data="{}"))
    return subscriber


def test_a_copy_is_made_of_rows_and_events(subscriber: RowSubscriber) -> None:
    assert subscriber.marks == {1: 5, 2: None}
    assert subscriber.take(event("row_inserted", "4-0@log", 3, '{"id":3,"mark":9,"note":"x"}'))
    assert subscriber.take(event("row_updated", "4-1@log", 1, "null", ',"unreadable":"too_large"'))
    assert subscriber.take(event("row_deleted", "5-0@log", 2, "null"))
    assert subscriber.marks == {3: 9, 1: None}
    assert str(subscriber.last_id) == "5-0@log"
    assert (subscriber.events, subscriber.unreadable) == (3, 1)


def test_a_resync_reads_the_rows_again(subscriber: RowSubscriber) -> None:
    assert not subscriber.take(Block(event="resync", id="9@log", data="{}"))
    assert subscriber.last_id is None


@pytest.mark.parametrize(
    ("held", "found"),
    [({1: 5, 2: 7}, 0), ({1: 5, 2: None}, 0), ({1: 6, 2: 7}, 1), ({1: 5}, 1), ({1: 5, 2: 7, 3: 1}, 1), ({}, 2)],
)
def test_what_is_lost_or_invented_is_a_violation(
    subscriber: RowSubscriber, held: dict[int, int | None], found: int
) -> None:
    assert len(list(subscriber.violations(held))) == found


def test_every_value_is_written_and_logged(database_url: str) -> None:
    table = PoisonTable(database_url, "public")
    table.create()
    rng = random.Random("poison")
    with psycopg.connect(database_url, autocommit=True) as connection:
        for mark in range(120):
            with connection.transaction():
                write_poison(connection, rng, mark)
        logged = connection.execute("select count(*) from flagent_cdc.change_log where table_name = %s", (TABLE,))
        assert logged.fetchone() != (0,)
        held: dict[int, int] = dict(connection.execute("select id, mark from torture_poison").fetchall())
        widest = connection.execute(
            "select max(length(note)) > 300, max(length(amount::text)) > 4300 from torture_poison"
        )
        assert widest.fetchone() == (True, True)
    assert table.marks().keys() == held.keys()
    assert {id: mark for id, mark in table.marks().items() if mark is not None}.items() <= held.items()
    table.remove()
