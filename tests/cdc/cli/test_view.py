"""What a person reads: one line an event, with what changed since the flag was last seen."""

from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cdc.cli.view import View

NOW = datetime(2026, 11, 23, 8, 0, 0, 125456, tzinfo=UTC)

FLAG: dict[str, Any] = {
    "id": 7,
    "key": "payments.flow",
    "description": "Payment in one step",
    "createdBy": None,
    "updatedBy": "ann",
    "enabled": True,
    "snapshotID": 3,
    "notes": None,
    "dataRecordsEnabled": False,
    "entityType": "user",
    "environmentId": None,
    "projectId": None,
    "dependsOn": [],
    "segments": [
        {
            "id": 11,
            "flagID": 7,
            "description": "EU users",
            "rank": 0,
            "rolloutPercent": 10,
            "constraints": [{"id": 21, "segmentID": 11, "property": "country", "operator": "IN", "value": "DE,FR"}],
            "distributions": [
                {"id": 31, "segmentID": 11, "variantID": 41, "variantKey": "control", "percent": 50},
                {"id": 32, "segmentID": 11, "variantID": 42, "variantKey": "treatment", "percent": 50},
            ],
        }
    ],
    "variants": [
        {"id": 41, "flagID": 7, "key": "control", "attachment": None},
        {"id": 42, "flagID": 7, "key": "treatment", "attachment": {"colour": "red"}},
    ],
    "tags": [{"id": 51, "value": "payment"}],
    "updatedAt": None,
    "archived": False,
}


def changed(**fields: Any) -> dict[str, Any]:
    return {**deepcopy(FLAG), **fields}


def segment(**fields: Any) -> dict[str, Any]:
    return {**deepcopy(FLAG["segments"][0]), **fields}


def event(kind: str, flag: dict[str, Any] | None, position: int = 8, index: int = 0, **fields: Any) -> dict[str, Any]:
    base = {
        "type": kind,
        "id": f"{position}-{index}@k7q2mx",
        "schema": "public",
        "committedAt": "2026-11-23T08:00:00.123456Z",
        "flagKey": "payments.flow",
        "flagID": 7,
    }
    return {**base, **({} if flag is None else {"flag": flag}), **fields}


@pytest.fixture
def view() -> View:
    """A view that has seen the flag in a snapshot."""
    view = View()
    view.snapshot({"position": "7", "flags": [deepcopy(FLAG)]}, shown=False)
    return view


def phrases(view: View, kind: str, flag: dict[str, Any] | None, **fields: Any) -> str:
    """The line without time, type and key, and without the latency at its end."""
    (line,) = view.event(event(kind, flag, **fields), NOW)
    start = "08:00:00.123 " + f"{kind:<20} " + f"{'payments.flow':<32}"
    assert line.startswith(start)
    assert line.endswith("(2 ms)")
    return line.removeprefix(start).removesuffix("(2 ms)").strip()


def test_a_column_of_the_flag(view: View) -> None:
    assert phrases(view, "flag_updated", changed(description="Pay now", notes="urgent")) == (
        'description "Payment in one step" → "Pay now", notes none → "urgent"'
    )


def test_a_toggle_is_shown_for_both_of_its_events(view: View) -> None:
    off = changed(enabled=False)
    assert phrases(view, "flag_updated", off, index=0) == "enabled true → false"
    assert phrases(view, "flag_disabled", off, index=1) == "enabled true → false"


def test_the_next_commit_compares_with_the_last_one(view: View) -> None:
    phrases(view, "flag_updated", changed(enabled=False), position=8)
    assert phrases(view, "flag_updated", changed(), position=9) == "enabled false → true"


def test_tags(view: View) -> None:
    flag = changed(tags=[{"id": 52, "value": "beta"}])
    assert phrases(view, "flag_updated", flag) == "- tag payment, + tag beta"


def test_a_rollout(view: View) -> None:
    after = segment(rolloutPercent=25)
    assert phrases(view, "segment_updated", changed(segments=[after]), segmentID=11, segment=after) == (
        'segment "EU users": rollout 10 → 25 %'
    )


def test_rules_of_a_segment(view: View) -> None:
    rules = [
        {"id": 21, "segmentID": 11, "property": "country", "operator": "IN", "value": "DE"},
        {"id": 22, "segmentID": 11, "property": "age", "operator": "GT", "value": "18"},
    ]
    after = segment(constraints=rules)
    assert phrases(view, "segment_updated", changed(segments=[after]), segmentID=11, segment=after) == (
        'segment "EU users": country IN DE,FR → country IN DE, + age GT 18'
    )


def test_a_new_and_a_removed_segment(view: View) -> None:
    new = segment(id=12, description=None, constraints=[], rolloutPercent=5)
    flag = changed(segments=[*FLAG["segments"], new])
    assert phrases(view, "segment_updated", flag, segmentID=12, segment=new) == "+ segment 12, rollout 5 %"
    assert phrases(view, "segment_updated", changed(), position=9, segmentID=12, segment=None) == "- segment 12"


def test_shares_are_compared_by_variant_since_a_replaced_row_has_a_new_id(view: View) -> None:
    shares = [
        {"id": 33, "segmentID": 11, "variantID": 41, "variantKey": "control", "percent": 30},
        {"id": 34, "segmentID": 11, "variantID": 42, "variantKey": "treatment", "percent": 70},
    ]
    flag = changed(segments=[segment(distributions=shares)])
    assert phrases(view, "distribution_updated", flag, segmentID=11, distributions=shares) == (
        "control 50 → 30 %, treatment 50 → 70 %"
    )


def test_variants(view: View) -> None:
    after = {"id": 42, "flagID": 7, "key": "treatment", "attachment": {"colour": "blue"}}
    flag = changed(variants=[FLAG["variants"][0], after])
    assert phrases(view, "variant_updated", flag, variantID=42, variant=after) == (
        "variant treatment: attachment {colour: red} → {colour: blue}"
    )
    assert phrases(view, "variant_updated", flag, position=9, variantID=43, variant=None) == "- variant"
    new = {"id": 44, "flagID": 7, "key": "third", "attachment": None}
    assert phrases(view, "variant_updated", flag, position=10, variantID=44, variant=new) == "+ variant third"


def test_a_flag_that_was_never_seen_is_described() -> None:
    assert phrases(View(), "flag_updated", changed()) == "enabled, 1 segment, 2 variants, tags payment"
    assert phrases(View(), "segment_updated", changed(), segmentID=11, segment=segment()) == "segment 11: rollout 10 %"


def test_created_and_deleted(view: View) -> None:
    assert phrases(view, "flag_deleted", None) == ""
    assert phrases(view, "flag_created", changed(segments=[], variants=[], tags=[]), position=9) == "enabled"


def test_rows_of_a_watched_table() -> None:
    row = {
        "type": "row_updated",
        "id": "8-0@k7q2mx",
        "schema": "public",
        "committedAt": "2026-11-23T08:00:00.123456Z",
        "table": "orders",
        "key": {"id": 5},
        "before": {"id": 5, "status": "new"},
        "after": {"id": 5, "status": "paid"},
        "changed": ["status"],
    }
    (line,) = View().event(row, NOW)
    assert '{"id": 5}, status "new" → "paid" (2 ms)' in line
    (line,) = View().event({**row, "type": "row_deleted", "after": None, "changed": None}, NOW)
    assert 'id 5, status "new"' in line


def test_nothing_in_a_flag_can_steer_the_terminal(view: View) -> None:
    flag = changed(description="\x1b[2Jgone\x07\n\u202ebidi")
    line = phrases(view, "flag_updated", flag)
    assert line.isprintable()
    assert r"\x1b[2Jgone\x07\n\u202ebidi" in line


def test_long_values_are_shortened(view: View) -> None:
    assert phrases(view, "flag_updated", changed(notes="x" * 500)).endswith('xxx…"')


def test_a_replayed_event_shows_its_age(view: View) -> None:
    (line,) = view.event(event("flag_updated", changed()), NOW + timedelta(hours=3))
    assert line.endswith("(3 h ago)")


def test_the_schema_is_named_once_there_are_several(view: View) -> None:
    phrases(view, "flag_updated", changed())
    other = event("flag_updated", changed(id=1), flagID=1, schema="tenant_1")
    (line,) = view.event(other, NOW)
    assert "tenant_1.payments.flow" in line


def test_a_snapshot_shows_each_flag_by_key() -> None:
    other = changed(id=8, key="a.flag", enabled=False, segments=[], variants=[], tags=[])
    lines = View().snapshot({"position": "7", "flags": [changed(), other]}, shown=True)
    assert lines[0] == "-- snapshot at position 7: 2 flags"
    assert [line.split()[1:] for line in lines[1:]] == [
        ["a.flag", "disabled"],
        ["payments.flow", "enabled,", "1", "segment,", "2", "variants,", "tags", "payment"],
    ]


def test_a_resync_reports_that_events_are_lost(view: View) -> None:
    data = {"reason": "pruned", "snapshot": {"position": "90", "flags": [changed(enabled=False)]}}
    assert view.resync(data) == ["-- resync (pruned): 1 flags as of now, events in between are lost"]
    assert phrases(view, "flag_updated", changed(), position=91) == "enabled false → true"


def test_lost_freshness_is_shown_once_and_so_is_its_return() -> None:
    view = View()
    assert view.connected("http://h", {"position": "7", "fresh": True, "ageMs": 2}) == [
        "-- connected to http://h at position 7, fresh"
    ]
    assert view.freshness("keep-alive position=7 fresh=true ageMs=2") == []
    stale = "keep-alive position=7 fresh=false ageMs=12000"
    assert view.freshness(stale) == ["-- STALE: the server could not confirm freshness for 12 s"]
    assert view.freshness(stale) == []
    assert view.freshness("keep-alive position=8 fresh=true ageMs=1") == ["-- fresh again"]


def test_colours_only_on_request() -> None:
    assert "\x1b" not in View().event(event("flag_deleted", None), NOW)[0]
    assert "\x1b[31mflag_deleted" in View(colour=True).event(event("flag_deleted", None), NOW)[0]
