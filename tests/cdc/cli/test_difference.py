"""The phrases for what changed; `test_view.py` tests them as parts of a line."""

from typing import Any

import pytest

from cdc.cli.difference import (
    describe_flag,
    difference_of_distributions,
    difference_of_flag,
    difference_of_rows,
    difference_of_segment,
    difference_of_variant,
    plain,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "none"),
        (True, "true"),
        (7, "7"),
        ([], "none"),
        (["a", None], "a, none"),
        ({"a": {"b": False}}, "{a: {b: false}}"),
        ("x" * 48, "x" * 48),
        ("x" * 49, "x" * 47 + "…"),
        ("a\nb\x1b[2J\u202e", r"a\nb\x1b[2J\u202e"),
    ],
)
def test_a_value_is_one_printable_line(value: object, text: str) -> None:
    assert plain(value) == text
    assert plain(value).isprintable()


def test_bookkeeping_and_parts_are_no_change_of_a_flag() -> None:
    flag: dict[str, Any] = {
        "id": 1,
        "key": "a",
        "tags": [],
        "segments": [],
        "variants": [],
        "updatedAt": "x",
        "notes": "",
    }
    other = {**flag, "segments": [{"id": 2}], "variants": [{"id": 3}], "updatedAt": "y", "snapshotID": 9}
    assert difference_of_flag(flag, other) == []
    assert difference_of_flag(flag, {**other, "key": "b"}) == ['key "a" → "b"']


def test_a_tag_that_was_renamed_is_one_phrase() -> None:
    before, after = {"tags": [{"id": 1, "value": "old"}]}, {"tags": [{"id": 1, "value": "new"}]}
    assert difference_of_flag(before, after) == ["tag old → tag new"]


def segment(**fields: Any) -> dict[str, Any]:
    return {"id": 4, "description": "EU", "rank": 0, "rolloutPercent": 10, "constraints": [], **fields}


def test_a_segment_is_named_once_before_its_changes() -> None:
    after = segment(rank=2, rolloutPercent=20, description="EU and CH")
    assert difference_of_segment(segment(), after) == [
        'segment "EU and CH": rollout 10 → 20 %',
        "rank 0 → 2",
        'description "EU" → "EU and CH"',
    ]
    assert difference_of_segment(segment(), segment()) == []
    assert difference_of_segment(segment(), None) == ['- segment "EU"']
    assert difference_of_segment(None, None) == ["- segment"]


def test_shares_that_appear_or_disappear_start_or_end_at_zero() -> None:
    one = [{"id": 1, "variantID": 7, "variantKey": "a", "percent": 100}]
    two = [{"id": 2, "variantID": 8, "variantKey": None, "percent": 100}]
    assert difference_of_distributions(one, two) == ["a 100 → 0 %", "variant 8 0 → 100 %"]
    assert difference_of_distributions(one, [{**one[0], "id": 3}]) == []


def test_a_variant_is_added_changed_and_removed() -> None:
    variant = {"key": "a", "attachment": {"x": "1"}}
    assert difference_of_variant(None, variant) == ["+ variant a", "attachment {x: 1}"]
    assert difference_of_variant(variant, {**variant, "attachment": None}) == ["variant a: attachment {x: 1} → none"]
    assert difference_of_variant(variant, None) == ["- variant a"]


def test_of_a_row_only_changed_columns_are_shown_and_of_a_new_one_all() -> None:
    before, after = {"id": 1, "total": 5, "note": "x"}, {"id": 1, "total": 6, "note": "x"}
    assert difference_of_rows(before, after, ["total", "note"]) == ["total 5 → 6"]
    assert difference_of_rows(before, after, None) == ["total 5 → 6"]
    assert difference_of_rows(None, after, None) == ["id 1", "total 6", 'note "x"']
    assert difference_of_rows(None, None, None) == []


def test_a_flag_is_described_by_its_state_its_parts_and_its_tags() -> None:
    flag = {"enabled": False, "segments": [1, 2], "variants": [1], "tags": [{"value": "a"}, {"value": "b"}]}
    assert describe_flag(flag) == ["disabled", "2 segments", "1 variant", "tags a, b"]
