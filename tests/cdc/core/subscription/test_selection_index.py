import random
from typing import Any

import pytest

from cdc.core.flags.events import Event, EventType
from cdc.core.subscription.selection import Selection, Selections
from cdc.core.subscription.selection_index import SelectionIndex
from tests.cdc.core.subscription.test_selection import event, row


def test_the_index_finds_each_subscriber_once_in_the_order_of_connection() -> None:
    index = SelectionIndex[str]()
    index.add("late name, first come", Selections((Selection.of(tags=["web"], flag_keys=["a"]),)))
    index.add("all", Selections((Selection.of(),)))
    index.add("key", Selections((Selection.of(flag_keys=["a"]), Selection.of(schemas=["public"]))))
    index.add("other", Selections((Selection.of(flag_keys=["b"]),)))
    assert [one for one, _ in index.match(event(tags=("web",)))] == ["late name, first come", "all", "key"]
    index.add("late name, first come", Selections((Selection.of(flag_ids=[1]),)))
    assert [one for one, _ in index.match(event())] == ["late name, first come", "all", "key"]
    index.remove("all")
    index.remove("all")
    assert [one for one, _ in index.match(event())] == ["late name, first come", "key"]
    assert len(index) == 3


def test_an_empty_index_holds_nothing_back() -> None:
    index = SelectionIndex[int]()
    for subscriber in range(10):
        index.add(subscriber, Selections((Selection.of(flag_keys=["a"], tags=["t"], tables=["x"], segments=True),)))
    for subscriber in range(10):
        index.remove(subscriber)
    assert (index._buckets, index._entries, index._order) == ({}, {}, {})


def random_event(rng: random.Random) -> Event:
    kind = rng.choice(list(EventType))
    if kind.startswith(("row_", "table_")):
        return row(rng.choice(["public.orders", "t.orders", "t.items"]), kind)
    tags = tuple(rng.sample(["x", "y", "z"], rng.randrange(3)))
    return event(kind, rng.choice("abc"), rng.randrange(3), tags, rng.choice(["public", "t"]))


def random_selection(rng: random.Random) -> Selection:
    def some(values: list[Any]) -> list[Any]:
        return rng.sample(values, rng.randrange(len(values))) if rng.random() < 0.3 else []

    return Selection.of(
        everything=rng.random() < 0.1,
        flag_keys=some(["a", "b", "c"]),
        flag_ids=some([0, 1, 2]),
        tags=some(["x", "y", "z"]),
        segments=rng.random() < 0.2,
        tables=some(["orders", "t.orders", "t.items"]),
        types=some(list(EventType)),
        schemas=some(["public", "t"]),
    )


@pytest.mark.parametrize("seed", range(20))
def test_the_index_finds_the_subscribers_that_asking_each_would_find(seed: int) -> None:
    rng = random.Random(seed)
    index = SelectionIndex[int]()
    connected: dict[int, Selections] = {}
    for step in range(300):
        subscriber = rng.randrange(30)
        if rng.random() < 0.2:
            index.remove(subscriber)
            connected.pop(subscriber, None)
        else:
            selections = connected.get(subscriber, Selections())
            selections = (
                selections.remove(random_selection(rng))
                if rng.random() < 0.3
                else selections.add(random_selection(rng))
            )
            index.add(subscriber, selections)
            connected[subscriber] = selections
        one = random_event(rng)
        expected = [number for number, selections in connected.items() if selections.matches(one)]
        assert [one for one, _ in index.match(one)] == expected, f"seed {seed}, step {step}"
