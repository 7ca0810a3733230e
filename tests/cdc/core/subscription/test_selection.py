from typing import Any

import pytest

from cdc.core.flags.events import Event, EventType, FlagScope
from cdc.core.log.position import EventId, Position
from cdc.core.subscription.selection import Selection, Selections
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
    ("selection", "selected"),
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
def test_a_selection_matches_events_about_flags(selection: Selection, selected: bool) -> None:
    assert selection.matches(event(tags=("web",))) is selected


@pytest.mark.parametrize("kind", EventType)
def test_segments_selects_segments_and_distributions_of_every_flag(kind: EventType) -> None:
    about_segments = kind in (EventType.SEGMENT_UPDATED, EventType.DISTRIBUTION_UPDATED)
    assert Selection.of(segments=True).matches(event(kind)) is about_segments


@pytest.mark.parametrize(
    ("selection", "selected"),
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
def test_rows_are_selected_by_their_table_only(selection: Selection, selected: bool) -> None:
    assert selection.matches(row()) is selected


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
    scope = FlagScope(frozenset({"web"}), None, None)
    assert selection.selects("public", 1, "a", scope) is held
    assert Selections((selection,)).selects("public", 1, "a", scope) is held


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


def test_tables_alone_differ_from_tables_among_flags() -> None:
    tables = Selection.of(tables=["a", "s.b"])
    assert Selections((tables,)).tables_alone == {"a", "s.b"}
    for other in (Selection.of(tags=["t"]), Selection.of(segments=True), Selection.of(flag_ids=[1]), Selection.of()):
        assert Selections((tables, other)).tables_alone == frozenset()
    assert Selections().tables_alone == frozenset()
