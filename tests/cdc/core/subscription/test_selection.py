import random
from typing import Any

import pytest

from cdc.core.flags.events import Event, EventType
from cdc.core.log.position import EventId, Position
from cdc.core.subscription.selection import Selection, SelectionIndex, Selections
from tests.cdc.core.flagent import LOG, TIME


def event(
    kind: EventType = EventType.FLAG_UPDATED,
    key: str | None = "a",
    flag_id: int | None = 1,
    tags: tuple[str, ...] = (),
    schema: str = "public",
    **detail: Any,
) -> Event:
    return Event(EventId(Position(1), 0, LOG), kind, schema, TIME, key, flag_id, frozenset(tags), None, detail)


def row(table: str = "public.orders", kind: EventType = EventType.ROW_INSERTED) -> Event:
    return event(kind, None, None, (), table.split(".")[0], table=table)


def flag(key: str = "a", flag_id: int = 1, *tags: str) -> dict[str, Any]:
    return {"key": key, "id": flag_id, "tags": [{"id": n, "value": tag} for n, tag in enumerate(tags)]}


@pytest.mark.parametrize(
    ("selection", "told"),
    [
        (Selection.of(), True),
        (Selection.of(everything=True), True),
        (Selection.of(flag_keys=["a"]), True),
        (Selection.of(flag_keys=["b"]), False),
        (Selection.of(flag_ids=[1]), True),
        (Selection.of(flag_ids=[2]), False),
        (Selection.of(tags=["web", "x"]), True),
        (Selection.of(tags=["x"]), False),
        (Selection.of(flag_keys=["b"], tags=["web"]), True),
        (Selection.of(tables=["a"]), False),
        (Selection.of(segments=True), False),
        (Selection.of(types=[EventType.FLAG_UPDATED]), True),
        (Selection.of(types=[EventType.FLAG_DELETED]), False),
        (Selection.of(flag_keys=["a"], types=[EventType.FLAG_DELETED]), False),
        (Selection.of(schemas=["public", "t"]), True),
        (Selection.of(schemas=["t"]), False),
    ],
)
def test_a_selection_matches_events_about_flags(selection: Selection, told: bool) -> None:
    assert selection.matches(event(tags=("web",))) is told


@pytest.mark.parametrize("kind", EventType)
def test_segments_selects_segments_and_distributions_of_every_flag(kind: EventType) -> None:
    about_segments = kind in (EventType.SEGMENT_UPDATED, EventType.DISTRIBUTION_UPDATED)
    assert Selection.of(segments=True).matches(event(kind)) is about_segments


@pytest.mark.parametrize(
    ("selection", "told"),
    [
        (Selection.of(), False),
        (Selection.of(flag_keys=["a"], segments=True, tags=["orders"]), False),
        (Selection.of(tables=["public.orders"]), True),
        (Selection.of(tables=["orders"]), True),
        (Selection.of(tables=["other.orders", "public.order"]), False),
        (Selection.of(tables=["orders"], types=[EventType.ROW_DELETED]), False),
        (Selection.of(tables=["orders"], schemas=["other"]), False),
    ],
)
def test_rows_are_selected_by_their_table_only(selection: Selection, told: bool) -> None:
    assert selection.matches(row()) is told


@pytest.mark.parametrize(
    ("selection", "held"),
    [
        (Selection.of(), True),
        (Selection.of(types=[EventType.FLAG_DELETED]), True),
        (Selection.of(segments=True), True),
        (Selection.of(flag_keys=["a"]), True),
        (Selection.of(flag_ids=[1]), True),
        (Selection.of(tags=["web"]), True),
        (Selection.of(flag_keys=["b"], flag_ids=[2], tags=["x"]), False),
        (Selection.of(tables=["a"]), False),
        (Selection.of(schemas=["t"]), False),
    ],
)
def test_a_snapshot_holds_what_the_selection_selects(selection: Selection, held: bool) -> None:
    assert selection.selects("public", flag("a", 1, "web")) is held
    assert Selections((selection,)).selects("public", flag("a", 1, "web")) is held


def test_selections_with_the_same_narrowing_become_one_clause() -> None:
    only = [EventType.FLAG_DELETED]
    selections = (
        Selections()
        .add(Selection.of(flag_keys=["b"], tables=["t"]))
        .add(Selection.of(flag_keys=["x"], types=only))
        .add(Selection.of(flag_keys=["a"], flag_ids=[1], tags=["web"], segments=True))
        .add(Selection.of())
    )
    assert selections.count == 8
    assert selections.to_json() == [
        {
            "all": True,
            "flags": ["a", "b"],
            "flagIDs": [1],
            "tags": ["web"],
            "segments": True,
            "tables": ["t"],
            "types": [],
            "schemas": [],
        },
        {
            "all": False,
            "flags": ["x"],
            "flagIDs": [],
            "tags": [],
            "segments": False,
            "tables": [],
            "types": ["flag_deleted"],
            "schemas": [],
        },
    ]
    assert selections.matches(event(key="q"))
    assert not Selections().matches(event())


def test_selectors_are_taken_out_of_every_clause_or_of_the_one_so_narrowed() -> None:
    wide = Selection.of(flag_keys=["a", "b"])
    narrow = Selection.of(flag_keys=["a", "b"], schemas=["t"])
    both = Selections().add(wide).add(narrow)
    assert both.remove(Selection.of(flag_keys=["a"])).clauses == (
        Selection.of(flag_keys=["b"]),
        Selection.of(flag_keys=["b"], schemas=["t"]),
    )
    assert both.remove(narrow).clauses == (wide,)
    assert both.remove(wide).clauses == ()
    assert both.remove(None).clauses == ()


def test_taking_everything_out_leaves_what_is_selected_by_name() -> None:
    both = Selections().add(Selection.of()).add(Selection.of(flag_keys=["a"], segments=True))
    assert both.remove(Selection.of(everything=True)).clauses == (Selection.of(flag_keys=["a"], segments=True),)


@pytest.mark.parametrize(
    ("clauses", "everything"),
    [
        ((), False),
        ((Selection.of(),), True),
        ((Selection.of(flag_keys=["a"], everything=True),), True),
        ((Selection.of(schemas=["t"]),), False),
        ((Selection.of(types=[EventType.FLAG_DELETED]), Selection.of()), True),
        ((Selection.of(), Selection.of(tables=["orders"], schemas=["t"])), False),
        ((Selection.of(flag_keys=["a"]),), False),
    ],
)
def test_everything_is_all_flag_events_and_no_rows(clauses: tuple[Selection, ...], everything: bool) -> None:
    assert Selections(clauses).is_everything is everything


def test_the_index_finds_each_subscriber_once_in_the_order_of_connection() -> None:
    index = SelectionIndex[str]()
    index.add("late name, first come", Selections((Selection.of(tags=["web"], flag_keys=["a"]),)))
    index.add("all", Selections((Selection.of(),)))
    index.add("key", Selections((Selection.of(flag_keys=["a"]), Selection.of(schemas=["public"]))))
    index.add("other", Selections((Selection.of(flag_keys=["b"]),)))
    assert index.match(event(tags=("web",))) == ["late name, first come", "all", "key"]
    index.add("late name, first come", Selections((Selection.of(flag_ids=[1]),)))
    assert index.match(event()) == ["late name, first come", "all", "key"]
    index.remove("all")
    index.remove("all")
    assert index.match(event()) == ["late name, first come", "key"]
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
def test_the_index_finds_whom_asking_each_subscriber_would_find(seed: int) -> None:
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
        assert index.match(one) == expected, f"seed {seed}, step {step}"


def test_tables_alone_are_told_from_tables_among_flags() -> None:
    tables = Selection.of(tables=["a", "s.b"])
    assert Selections((tables,)).tables_alone == {"a", "s.b"}
    for other in (Selection.of(tags=["t"]), Selection.of(segments=True), Selection.of(flag_ids=[1]), Selection.of()):
        assert Selections((tables, other)).tables_alone == frozenset()
    assert Selections().tables_alone == frozenset()
