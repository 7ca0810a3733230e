from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from cdc.core.flags.catalog import Catalog
from cdc.core.flags.events import EventType
from cdc.core.flags.flag_tables import TABLES
from cdc.core.log.change import Change, Op
from cdc.core.log.position import CommitHash, EventId, LogId, Position
from tests.cdc.core.flagent import LOG, TIME, Flagent, Observed, change_of, commit_of, detail_of, summaries

GONE = "2026-05-05T05:05:05"


@pytest.fixture
def observed() -> Observed:
    """A live flag `a` with a segment, a variant, a distribution, a constraint and the tag `web`."""
    observed = Observed()
    flagent = observed.flagent
    flag_id = flagent.flag("a")  # 1
    flagent.insert("segments", flag_id=flag_id)  # 2
    flagent.insert("variants", flag_id=flag_id)  # 3
    flagent.insert("distributions", segment_id=2, variant_id=3)  # 4
    flagent.insert("constraints", segment_id=2)  # 5
    flagent.tag(flag_id, "web")  # 6, 7
    observed.commit()
    return observed


# The events of each call of Flagent's API (spec a.3).


def test_creating_a_flag_is_one_event(observed: Observed) -> None:
    flagent = observed.flagent
    events = observed.call(8, lambda: flagent.flag("b"))
    assert summaries(events) == ["flag_created b"]
    assert events[0].flag is not None
    assert events[0].flag["key"] == "b"


def test_creating_a_flag_from_a_template_is_an_event_per_step(observed: Observed) -> None:
    flagent = observed.flagent
    events = observed.call(
        8,
        lambda: flagent.flag("b"),
        lambda: flagent.insert("segments", flag_id=8, rollout_percent=100),
        lambda: flagent.save(8),
        lambda: flagent.insert("variants", flag_id=8),
        lambda: flagent.save(8),
        lambda: flagent.insert("distributions", segment_id=9, variant_id=10),
        lambda: flagent.save(8),
    )
    assert summaries(events) == [
        "flag_created b",
        "segment_updated b",
        "flag_updated b",
        "variant_updated b",
        "distribution_updated b",
    ]


def test_saving_a_flag_in_three_commits_is_one_content_event(observed: Observed) -> None:
    flagent = observed.flagent
    events = observed.call(1, lambda: flagent.update("flags", 1, description="new", updated_at="2026-03-27T09:00:00"))
    assert summaries(events) == ["flag_updated a"]
    assert str(events[0].id) == f"2-0@k7q2mx.{observed.catalog.here.hash}"
    assert (events[0].committed_at, events[0].schema, events[0].flag_id) == (TIME, "public", 1)
    assert events[0].tags == {"web"}
    assert events[0].flag is not None
    assert events[0].flag["description"] == "new"


@pytest.mark.parametrize(("first", "second"), [(False, True), (True, False)])
def test_toggling_is_an_update_and_a_direction(observed: Observed, first: bool, second: bool) -> None:
    flagent = observed.flagent
    flagent.update("flags", 1, enabled=first)
    observed.commit()
    events = observed.call(1, lambda: flagent.update("flags", 1, enabled=second))
    assert summaries(events) == ["flag_updated a", "flag_enabled a" if second else "flag_disabled a"]
    assert [event.id.index for event in events] == [0, 1]
    assert events[0].flag is events[1].flag


def test_a_toggle_to_the_same_value_is_no_event(observed: Observed) -> None:
    flagent = observed.flagent
    assert observed.call(1, lambda: flagent.update("flags", 1, enabled=False, updated_at=GONE)) == []


def test_toggling_many_flags_at_once_is_one_commit(observed: Observed) -> None:
    flagent = observed.flagent
    flagent.flag("b")
    observed.commit()
    flagent.update("flags", 8, enabled=True)
    flagent.update("flags", 1, enabled=True)
    events = observed.commit()
    assert summaries(events) == ["flag_updated b", "flag_enabled b", "flag_updated a", "flag_enabled a"]
    assert [event.id.index for event in events] == [0, 1, 2, 3]


def test_a_soft_delete_is_a_deletion_and_its_undo_a_creation(observed: Observed) -> None:
    observed.flagent.update("flags", 1, deleted_at=GONE)
    (gone,) = observed.commit()
    assert (gone.type, gone.flag_key, gone.flag_id, gone.flag, gone.detail) == ("flag_deleted", "a", 1, None, {})
    assert gone.tags == {"web"}
    assert observed.catalog.flag_json("public", 1) is None
    observed.flagent.update("flags", 1, deleted_at=None)
    (back,) = observed.commit()
    assert (back.type, back.tags) == (EventType.FLAG_CREATED, frozenset({"web"}))
    assert back.flag is not None
    assert back.flag["segments"][0]["id"] == 2


def test_a_hard_delete_is_one_event_whatever_the_cascade(observed: Observed) -> None:
    observed.flagent.delete("flags", 1)
    assert len(observed.flagent.changes) == 6
    assert summaries(observed.commit()) == ["flag_deleted a"]


def test_adding_a_segment_sends_the_segment(observed: Observed) -> None:
    flagent = observed.flagent
    (event,) = observed.call(1, lambda: flagent.insert("segments", flag_id=1, rank=3))
    assert (event.type, event.detail["segmentID"]) == ("segment_updated", 8)
    assert event.detail["segment"]["rank"] == 3
    assert event.flag is not None
    assert [segment["id"] for segment in event.flag["segments"]] == [8, 2]


def test_a_new_segment_with_distributions_is_two_events(observed: Observed) -> None:
    flagent = observed.flagent
    flagent.insert("segments", flag_id=1, rank=3)
    flagent.insert("distributions", segment_id=8, variant_id=3, percent=7)
    first, second = observed.commit()
    assert (first.type, second.type) == ("segment_updated", "distribution_updated")
    assert first.detail["segment"]["distributions"] == second.detail["distributions"]
    assert second.detail["distributions"][0]["percent"] == 7


def test_a_removed_segment_is_null(observed: Observed) -> None:
    flagent = observed.flagent
    (event,) = observed.call(1, lambda: flagent.update("segments", 2, deleted_at=GONE))
    assert (event.type, event.detail) == ("segment_updated", {"segmentID": 2, "segment": None})


def test_reordering_segments_is_an_event_for_each_that_moved_in_its_new_order(observed: Observed) -> None:
    flagent = observed.flagent
    flagent.insert("segments", flag_id=1, rank=1000)
    observed.commit()

    def reorder() -> None:
        flagent.update("segments", 8, rank=0)
        flagent.update("segments", 2, rank=1)

    events = observed.call(1, reorder)
    assert [event.detail["segmentID"] for event in events] == [8, 2]
    assert {event.type for event in events} == {EventType.SEGMENT_UPDATED}


@pytest.mark.parametrize("step", ["insert", "update", "soft delete", "hard delete"])
def test_a_changed_constraint_is_an_event_of_its_segment(observed: Observed, step: str) -> None:
    flagent = observed.flagent
    steps = {
        "insert": lambda: flagent.insert("constraints", segment_id=2, value="DE"),
        "update": lambda: flagent.update("constraints", 5, value="DE"),
        "soft delete": lambda: flagent.update("constraints", 5, deleted_at=GONE),
        "hard delete": lambda: flagent.delete("constraints", 5),
    }
    (event,) = observed.call(1, steps[step])
    assert event.type == "segment_updated"
    expected = {"insert": ["US", "DE"], "update": ["DE"], "soft delete": [], "hard delete": []}[step]
    assert [constraint["value"] for constraint in event.detail["segment"]["constraints"]] == expected


def test_replacing_distributions_is_one_event(observed: Observed) -> None:
    flagent = observed.flagent

    def replace() -> None:
        flagent.delete("distributions", 4)
        flagent.insert("distributions", segment_id=2, variant_id=3, percent=100)

    (event,) = observed.call(1, replace)
    assert (event.type, event.detail["segmentID"]) == ("distribution_updated", 2)
    assert [share["id"] for share in event.detail["distributions"]] == [8]


def test_a_changed_variant_is_an_event_of_flag_distributions_and_variant(observed: Observed) -> None:
    flagent = observed.flagent
    events = observed.call(
        1,
        lambda: flagent.update("variants", 3, key="off"),
        lambda: flagent.update("distributions", 4, variant_key="off"),
    )
    assert summaries(events) == ["flag_updated a", "variant_updated a", "distribution_updated a"]
    assert events[1].detail["variantID"] == 3
    assert events[1].detail["variant"]["key"] == "off"


def test_a_removed_variant_is_null_in_its_event(observed: Observed) -> None:
    flagent = observed.flagent
    events = observed.call(1, lambda: flagent.update("variants", 3, deleted_at=GONE))
    assert summaries(events) == ["flag_updated a", "variant_updated a"]
    assert events[1].detail == {"variantID": 3, "variant": None}


def test_events_have_the_tags_before_and_after(observed: Observed) -> None:
    flagent = observed.flagent
    (added,) = observed.call(1, lambda: flagent.insert("tags", value="new"), lambda: flagent.tag(1, "new"))
    assert (added.type, added.tags) == (EventType.FLAG_UPDATED, frozenset({"web", "new"}))
    (removed,) = observed.call(1, lambda: flagent.delete("flags_tags", 7))
    assert (removed.type, removed.tags) == (EventType.FLAG_UPDATED, frozenset({"web", "new"}))
    assert removed.flag is not None
    assert [tag["value"] for tag in removed.flag["tags"]] == ["new"]


# What other writers may do.


def test_a_renamed_key_is_a_deletion_and_a_creation(observed: Observed) -> None:
    observed.flagent.update("flags", 1, key="z", enabled=True)
    events = observed.commit()
    assert summaries(events) == ["flag_deleted a", "flag_created z"]
    assert observed.catalog.find("public", "a") is None
    assert observed.catalog.find("public", "z") is not None


def test_a_client_that_indexes_by_key_keeps_both_flags_that_swap_keys(observed: Observed) -> None:
    flagent = observed.flagent
    flagent.flag("b")
    observed.commit()
    for flag_id, key in ((1, "c"), (8, "a"), (1, "b")):
        flagent.update("flags", flag_id, key=key)
    events = observed.commit()
    assert summaries(events) == ["flag_deleted a", "flag_deleted b", "flag_created b", "flag_created a"]
    assert [event.id.index for event in events] == [0, 1, 2, 3]


def test_a_flag_with_a_new_id_is_another_flag(observed: Observed) -> None:
    observed.flagent.update("flags", 1, id=99)
    gone, new = observed.commit()
    assert (gone.type, gone.flag_id) == ("flag_deleted", 1)
    assert (new.type, new.flag_id) == ("flag_created", 99)


def test_a_renamed_or_deleted_tag_touches_every_flag_that_has_it(observed: Observed) -> None:
    flagent = observed.flagent
    flagent.flag("b")
    flagent.tag(8, "web")
    observed.commit()
    flagent.update("tags", 6, value="site")
    events = observed.commit()
    assert summaries(events) == ["flag_updated a", "flag_updated b"]
    assert events[0].tags == {"web", "site"}
    flagent.update("tags", 6, deleted_at=GONE)
    assert [event.tags for event in observed.commit()] == [{"site"}, {"site"}]
    flagent.update("tags", 6, deleted_at=None)
    observed.commit()
    flagent.delete("tags", 6)
    assert summaries(observed.commit()) == ["flag_updated a", "flag_updated b"]


def test_a_segment_that_moves_to_another_flag_touches_both(observed: Observed) -> None:
    flagent = observed.flagent
    flagent.flag("b")
    observed.commit()
    flagent.update("segments", 2, flag_id=8)
    events = observed.commit()
    assert summaries(events) == ["segment_updated a", "segment_updated b", "distribution_updated b"]
    assert events[0].detail["segment"] is None
    assert events[1].detail["segment"]["constraints"][0]["id"] == 5


def test_children_may_come_before_their_parents() -> None:
    observed = Observed()
    flagent = observed.flagent
    flagent.insert("constraints", segment_id=3)
    flagent.insert("flags_tags", flag_id=4, tag_id=5)
    flagent.insert("segments", flag_id=4)
    flagent.flag("late")
    flagent.insert("tags", value="web")
    (event,) = observed.commit()
    assert (event.type, event.tags) == (EventType.FLAG_CREATED, frozenset({"web"}))
    assert event.flag is not None
    assert event.flag["segments"][0]["constraints"][0]["id"] == 1


def test_children_of_a_deleted_flag_are_no_event(observed: Observed) -> None:
    observed.flagent.update("flags", 1, deleted_at=GONE)
    observed.commit()
    observed.flagent.update("segments", 2, rank=0)
    assert observed.commit() == []


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("flags", ["flag_deleted a", "flag_deleted b", "flag_deleted c"]),
        ("segments", ["segment_updated a", "segment_updated b"]),
        ("constraints", ["segment_updated a", "segment_updated b"]),
        ("distributions", ["distribution_updated a", "distribution_updated b"]),
        ("variants", ["flag_updated a", "variant_updated a", "flag_updated b", "variant_updated b"]),
        ("tags", ["flag_updated a", "flag_updated b"]),
        ("flags_tags", ["flag_updated a", "flag_updated b"]),
    ],
)
@pytest.mark.parametrize("logged", [True, False])
def test_a_truncate_is_an_event_of_every_flag_that_had_rows(
    observed: Observed, table: str, expected: list[str], logged: bool
) -> None:
    flagent = observed.flagent
    flagent.flag("b")  # 8
    flagent.insert("segments", flag_id=8)  # 9
    flagent.insert("variants", flag_id=8)  # 10
    flagent.insert("distributions", segment_id=9, variant_id=10)
    flagent.insert("constraints", segment_id=9)
    flagent.tag(8, "web")
    flagent.flag("c")
    observed.commit()
    flagent.truncate(table)
    if not logged:
        flagent.changes = flagent.changes[-1:]
    events = observed.commit()
    assert summaries(events) == expected


def test_a_commit_without_a_net_change_is_no_event(observed: Observed) -> None:
    flagent = observed.flagent
    flagent.update("flags", 1, description="x")
    flagent.update("flags", 1, description="")
    flagent.flag("short-lived")
    flagent.delete("flags", 8)
    assert observed.commit() == []


def test_a_change_that_no_client_sees_is_no_event(observed: Observed) -> None:
    flagent = observed.flagent
    flagent.update("distributions", 4, bitmap="x")
    flagent.update("segments", 2, updated_at=GONE)
    flagent.update("flags", 1, created_at=GONE)
    assert observed.commit() == []


def test_bookkeeping_is_applied_without_an_event(observed: Observed) -> None:
    before = observed.catalog.flag_json("public", 1)
    observed.flagent.save(1)
    assert observed.commit() == []
    flag = observed.catalog.flag_json("public", 1)
    assert before is not None
    assert flag is not None
    assert (before["snapshotID"], flag["snapshotID"], flag["updatedBy"]) == (0, 1, "ann")


# Watched tables of data teams.


def test_rows_of_other_tables_are_row_events(observed: Observed) -> None:
    one, two = {"id": 1, "n": 1, "old": 0}, {"id": 1, "n": 2, "new": 0}
    key = {"id": 1}
    observed.flagent.update("flags", 1, description="x")
    events = observed.commit(
        change_of("shop", "orders", Op.INSERT, None, one, key),
        change_of("shop", "orders", Op.UPDATE, one, two, key),
        change_of("shop", "orders", Op.DELETE, two, None),
        Change("shop", "orders", Op.TRUNCATE, None, None),
    )
    assert [event.type for event in events] == [
        "flag_updated",
        "row_inserted",
        "row_updated",
        "row_deleted",
        "table_truncated",
    ]
    assert [event.id.index for event in events] == [0, 1, 2, 3, 4]
    expected: list[dict[str, Any]] = [
        {"key": key, "before": None, "after": one, "changed": []},
        {"key": key, "before": one, "after": two, "changed": ["n", "new", "old"]},
        {"key": None, "before": two, "after": None, "changed": []},
        {"key": None, "before": None, "after": None, "changed": []},
    ]
    provenance = {"transaction": "771", "user": "app", "application": "test"}
    assert [detail_of(event) for event in events[1:]] == [
        {"table": "shop.orders", **detail, **provenance} for detail in expected
    ]
    assert {(event.schema, event.flag_key, event.flag_id, event.flag) for event in events[1:]} == {
        ("shop", None, None, None)
    }


def test_tables_named_like_flagents_in_a_schema_not_attached_are_rows_too(observed: Observed) -> None:
    (event,) = observed.commit(change_of("shop", "tags", Op.INSERT, None, {"sku": "x"}))
    assert (event.type, event.detail["table"]) == ("row_inserted", "shop.tags")
    observed.catalog.rewind(commit_of(2, change_of("shop", "tags", Op.INSERT, None, {"sku": "x"})))


# Positions, schemas, digest, copies.


def test_a_commit_is_applied_once(observed: Observed) -> None:
    observed.flagent.update("flags", 1, description="x")
    commit = observed.flagent.commit()
    assert len(observed.catalog.apply(commit)) == 1
    assert observed.catalog.position == 2
    assert observed.catalog.apply(commit) == []


def test_schemas_are_kept_apart() -> None:
    one, two = Flagent("one"), Flagent("two")
    one.flag("a")
    two.flag("a", enabled=True)
    catalog = Catalog(LogId("x"))
    for flagent in (two, one):
        rows = {table: rows.values() for table, rows in flagent.tables.items()}
        catalog.load(flagent.schema, rows, Position(5))
    assert (catalog.schemas, catalog.position) == (("one", "two"), 5)
    assert [(schema, flag["enabled"]) for schema, flag in catalog.flags()] == [("one", False), ("two", True)]
    assert [schema for schema, _ in catalog.flags("two")] == ["two"]
    assert list(catalog.flags("three")) == []
    found = catalog.find("two", "a")
    assert found is not None
    assert found["enabled"]
    assert catalog.find("three", "a") is None
    assert catalog.find("two", "b") is None
    assert catalog.flag_json("three", 1) is None
    assert catalog.digest.startswith("2:")


def test_a_soft_deleted_flag_is_not_found_by_its_key(observed: Observed) -> None:
    observed.flagent.update("flags", 1, deleted_at=GONE)
    observed.commit()
    assert observed.catalog.find("public", "a") is None
    assert list(observed.catalog.flags()) == []
    assert observed.catalog.evaluation_view("public", 1) is None


def test_loading_again_replaces_what_was_there(observed: Observed) -> None:
    assert observed.catalog.digest.startswith("1:")
    observed.catalog.load("public", {}, Position(9))
    assert (observed.catalog.digest, observed.catalog.position) == ("0:00000000", 9)


def test_attaching_twice_keeps_the_rows(observed: Observed) -> None:
    observed.catalog.attach("public")
    assert observed.catalog.flag_json("public", 1) is not None


def test_evaluation_sees_the_quotes_that_clients_do_not(observed: Observed) -> None:
    observed.flagent.update("variants", 3, attachment='{"color": "\\"blue\\""}')
    observed.commit()
    seen, shown = observed.catalog.evaluation_view("public", 1), observed.catalog.flag_json("public", 1)
    assert seen is not None
    assert shown is not None
    assert seen["variants"][0]["attachment"] == {"color": '"blue"'}
    assert shown["variants"][0]["attachment"] == {"color": "blue"}
    assert observed.catalog.attachments("public", 1) == {3: {"color": '"blue"'}}
    assert observed.catalog.attachments("elsewhere", 1) == {}


def test_a_flag_is_the_same_object_until_it_changes(observed: Observed) -> None:
    flag = observed.catalog.flag_json("public", 1)
    observed.flagent.flag("b")
    observed.commit()
    assert observed.catalog.flag_json("public", 1) is flag


def test_a_rewound_copy_repeats_past_events_and_leaves_the_present_unchanged(observed: Observed) -> None:
    flagent, catalog = observed.flagent, observed.catalog
    commits, events, digests = [], [], [catalog.digest]
    steps: list[Callable[[], object]] = [
        lambda: flagent.update("flags", 1, enabled=True),
        lambda: flagent.delete("segments", 2),
        lambda: flagent.truncate("tags", "flags_tags"),
        lambda: flagent.update("flags", 1, key="z"),
        lambda: flagent.delete("flags", 1),
    ]
    for step in steps:
        step()
        commits.append(flagent.commit())
        events.append(catalog.apply(commits[-1]))
        digests.append(catalog.digest)
    past = catalog.copy()
    for commit, digest in zip(reversed(commits), reversed(digests[:-1]), strict=True):
        past.rewind(commit)
        assert past.digest == digest
    past.rewind(commits[-1])
    assert (past.position, past.digest) == (1, digests[0])
    assert [past.apply(commit) for commit in commits] == events
    assert catalog.digest == digests[-1]


def attached(flagent: Flagent) -> list[Change]:
    """What attaching logs: of each table a truncate without its rows, then a row as an insert."""
    changes = []
    for table, rows in flagent.tables.items():
        changes.append(Change("public", table, Op.TRUNCATE, None, None))
        changes += [change_of("public", table, Op.INSERT, None, row) for row in rows.values()]
    return changes


def test_attaching_sends_all_flags_and_attaching_again_what_differs(observed: Observed) -> None:
    fresh = Catalog(LOG)
    fresh.attach("public")
    assert summaries(fresh.apply(commit_of(2, *attached(observed.flagent)))) == ["flag_created a"]
    assert observed.commit(*attached(observed.flagent)) == []
    observed.flagent.update("flags", 1, enabled=True)
    observed.flagent.flag("b")
    observed.flagent.changes.clear()
    events = observed.commit(*attached(observed.flagent))
    assert summaries(events) == ["flag_updated a", "flag_enabled a", "flag_created b"]


def test_before_an_attachment_only_that_schema_is_unknown(observed: Observed) -> None:
    observed.catalog.attach("tenant")
    flag = observed.flagent.tables["flags"][1]
    observed.catalog.apply(commit_of(2, change_of("tenant", "flags", Op.INSERT, None, flag)))
    commit = commit_of(3, *attached(observed.flagent))
    observed.catalog.apply(commit)
    past = observed.catalog.copy()
    assert past.rewind(commit) == ["public"]
    assert (past.position, past.schemas, past.copy().attached["public"].position) == (2, ("public", "tenant"), 3)
    assert [schema for schema, _ in past.flags()] == ["tenant"]
    assert past.digest.split(":")[0] == "1"
    assert past.rewind(commit_of(2, change_of("tenant", "flags", Op.INSERT, None, flag))) == []
    assert list(past.flags()) == []
    assert observed.catalog.attached == {}


def test_a_truncate_of_all_tables_that_logged_its_rows_can_be_undone(observed: Observed) -> None:
    digest = observed.catalog.digest
    observed.flagent.truncate(*TABLES)
    commit = observed.flagent.commit()
    observed.catalog.apply(commit)
    assert not observed.catalog.rewind(commit)
    assert observed.catalog.digest == digest


def test_the_present_has_the_hash_of_the_commit_that_led_there_as_long_as_it_is_known() -> None:
    catalog = Catalog(LOG, Position(6), CommitHash("3f0c9a"))
    assert str(catalog.here) == f"6@{LOG}.3f0c9a"
    commit = commit_of(7, change_of("shop", "orders", Op.INSERT, None, {"id": 1}))
    (event,) = catalog.apply(commit)
    assert str(event.id) == f"7-0@{LOG}.{commit.hash}"
    assert catalog.copy().here == catalog.here == EventId(Position(7), None, LOG, commit.hash)
    catalog.rewind(commit)
    assert str(catalog.here) == f"6@{LOG}"


def test_a_commit_that_was_never_applied_is_undone_already(observed: Observed) -> None:
    assert not observed.catalog.rewind(commit_of(99))
    assert observed.catalog.position == 1


def test_a_commit_in_parts_has_the_events_of_the_whole() -> None:
    changes = [change_of("shop", "orders", Op.INSERT, None, {"id": n}) for n in range(7)]
    whole, parts = Catalog(LOG), Catalog(LOG)
    expected = whole.apply(commit_of(4, *changes))
    found, places = [], []
    for begin in (0, 3, 6):
        part = replace(commit_of(4, *changes[begin : begin + 3]), begin=begin, ends=begin == 6)
        found += parts.apply(part)
        assert parts.apply(part) == [], "what was taken in already"
        places.append((parts.position, str(parts.here)))
    assert found == expected
    hash = commit_of(4, *changes).hash
    assert places == [(0, f"4-2@{LOG}.{hash}"), (0, f"4-5@{LOG}.{hash}"), (4, f"4@{LOG}.{hash}")]
    assert parts.apply(replace(commit_of(5, *changes), begin=3)) == [], "a part whose beginning is missing"
