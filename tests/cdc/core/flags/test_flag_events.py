"""The difference between two states of a flag, as events."""

from typing import Any

import pytest

from cdc.core.flags.events import EventType
from cdc.core.flags.flag import BOOKKEEPING
from cdc.core.flags.flag_events import EventDraft, flag_events


def flag(**fields: Any) -> dict[str, Any]:
    base: dict[str, Any] = {"id": 1, "key": "a", "enabled": False, "description": "", "segments": [], "variants": []}
    return {**base, "tags": [], "snapshotID": 1, "updatedAt": None, "updatedBy": None, **fields}


def segment(id: int, rank: int = 0, **fields: Any) -> dict[str, Any]:
    return {"id": id, "rank": rank, "rolloutPercent": 100, "constraints": [], "distributions": [], **fields}


def types(before: dict[str, Any] | None, after: dict[str, Any] | None) -> list[str]:
    return [str(event.type) for event in flag_events(before, after)]


def test_equal_states_have_no_events() -> None:
    assert types(None, None) == []
    assert types(flag(), flag()) == []


@pytest.mark.parametrize("field", BOOKKEEPING)
def test_a_change_of_bookkeeping_alone_is_no_event(field: str) -> None:
    assert types(flag(), flag(**{field: "changed"})) == []


def test_creation_and_deletion_include_the_parts() -> None:
    whole = flag(segments=[segment(2)], variants=[{"id": 3, "key": "on"}])
    assert flag_events(None, whole) == [EventDraft(EventType.FLAG_CREATED, "a", 1, whole, {})]
    assert flag_events(whole, None) == [EventDraft(EventType.FLAG_DELETED, "a", 1, None, {})]


def test_a_new_key_is_a_deletion_and_a_creation() -> None:
    deleted, created = flag_events(flag(), flag(key="b"))
    assert (deleted.type, deleted.flag_key, deleted.flag) == (EventType.FLAG_DELETED, "a", None)
    assert (created.type, created.flag_key, created.flag) == (EventType.FLAG_CREATED, "b", flag(key="b"))


@pytest.mark.parametrize(("enabled", "type"), [(True, "flag_enabled"), (False, "flag_disabled")])
def test_a_toggle_has_an_update_and_a_direction(enabled: bool, type: str) -> None:
    assert types(flag(enabled=not enabled), flag(enabled=enabled)) == ["flag_updated", type]


def test_segments_come_by_rank_then_all_distributions() -> None:
    share = {"variantID": 7, "percent": 100}
    before = flag(segments=[segment(2), segment(3, 1)])
    after = flag(segments=[segment(4, 0, distributions=[share]), segment(2, 1), segment(3, 2, distributions=[share])])
    events = flag_events(before, after)
    assert [(str(event.type), event.detail["segmentID"]) for event in events] == [
        ("segment_updated", 4),
        ("segment_updated", 2),
        ("segment_updated", 3),
        ("distribution_updated", 4),
        ("distribution_updated", 3),
    ]
    assert events[0].detail["segment"] == after["segments"][0]
    assert events[3].detail["distributions"] == [share]


def test_a_removed_segment_or_variant_is_null() -> None:
    (removed,) = flag_events(flag(segments=[segment(2, distributions=[{"percent": 1}])]), flag())
    assert removed.detail == {"segmentID": 2, "segment": None}
    *_, removed = flag_events(flag(variants=[{"id": 3, "key": "on"}]), flag())
    assert removed.detail == {"variantID": 3, "variant": None}


def test_a_change_of_distributions_alone_is_no_change_of_the_segment() -> None:
    before, after = (flag(segments=[segment(2, distributions=[{"percent": n}])]) for n in (1, 2))
    assert types(before, after) == ["distribution_updated"]


def test_variants_come_by_id_after_an_update_of_the_flag() -> None:
    before = flag(variants=[{"id": 9, "key": "x"}, {"id": 4, "key": "y"}])
    after = flag(variants=[{"id": 9, "key": "z"}, {"id": 5, "key": "y"}])
    assert [(str(one.type), one.detail.get("variantID")) for one in flag_events(before, after)] == [
        ("flag_updated", None),
        ("variant_updated", 4),
        ("variant_updated", 5),
        ("variant_updated", 9),
    ]
