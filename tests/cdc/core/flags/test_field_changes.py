"""Which fields of a flag changed."""

from typing import Any

from cdc.core.flags.field_changes import field_changes


def flag(**fields: Any) -> dict[str, Any]:
    base: dict[str, Any] = {"id": 1, "key": "a", "enabled": False, "dependsOn": [], "segments": [], "variants": []}
    return {**base, "tags": [], "snapshotID": 1, "updatedAt": None, "updatedBy": None, **fields}


def segment(**fields: Any) -> dict[str, Any]:
    return {"id": 3, "rank": 1, "rolloutPercent": 10, "constraints": [], "distributions": [], **fields}


def share(id: int, variant: int, percent: int) -> dict[str, Any]:
    return {"id": id, "segmentID": 3, "variantID": variant, "percent": percent}


def changed(before: dict[str, Any], after: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    return [(each["path"], each["before"], each["after"]) for each in field_changes(before, after)]


def test_changes_of_bookkeeping_are_ignored() -> None:
    assert changed(flag(), flag()) == []
    assert changed(flag(), flag(snapshotID=2, updatedAt="2026-01-01T00:00", updatedBy="x")) == []


def test_a_changed_field_has_both_values() -> None:
    assert changed(flag(), flag(enabled=True, dependsOn=["b"])) == [("enabled", False, True), ("dependsOn", [], ["b"])]


def test_tags_are_compared_by_value() -> None:
    before = flag(tags=[{"id": 1, "value": "x"}, {"id": 2, "value": "b"}])
    assert changed(before, flag(tags=[{"id": 2, "value": "b"}])) == [("tags", ["b", "x"], ["b"])]


def test_parts_are_paired_by_id() -> None:
    rule = {"id": 5, "segmentID": 3, "property": "country", "operator": "EQ", "value": '"DE"'}
    before = flag(segments=[segment(constraints=[rule]), segment(id=9)])
    after = flag(segments=[segment(id=9), segment(rolloutPercent=50, constraints=[{**rule, "value": '"FR"'}])])
    assert changed(before, after) == [
        ("segments[3].rolloutPercent", 10, 50),
        ("segments[3].constraints[5].value", '"DE"', '"FR"'),
    ]


def test_an_added_or_removed_part_is_shown_whole() -> None:
    one, other = {"id": 1, "key": "on"}, {"id": 2, "key": "off"}
    assert changed(flag(variants=[one]), flag(variants=[other])) == [
        ("variants[1]", one, None),
        ("variants[2]", None, other),
    ]


def test_distributions_are_paired_by_variant_as_their_rows_are_replaced() -> None:
    before = flag(segments=[segment(distributions=[share(1, 7, 100)])])
    after = flag(segments=[segment(distributions=[share(2, 7, 60), share(3, 8, 40)])])
    assert changed(before, after) == [
        ("segments[3].distributions[7].percent", 100, 60),
        ("segments[3].distributions[8]", None, share(3, 8, 40)),
    ]
    assert changed(before, flag(segments=[segment(distributions=[share(9, 7, 100)])])) == []
