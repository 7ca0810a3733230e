"""Finding the flags of a request."""

from typing import Any

import pytest

from .flags import ask, batch, flag, tagged


def found(flags: list[dict[str, Any]], **request: Any) -> int | None:
    """The id of the flag that answers."""
    result = ask(flags, {"entityID": "u", **request})
    return result["flagID"] if result["variantID"] is not None else None


def test_an_id_overrides_a_key_even_if_it_is_unknown() -> None:
    assert found([flag(1, "a"), flag(2, "b")], flagID=1, flagKey="b") == 1
    assert found([flag(1, "a")], flagID=9, flagKey="a") is None


def test_a_key_that_looks_like_an_id_finds_the_id_first() -> None:
    assert found([flag(7, "a"), flag(8, "7")], flagKey="7") == 7
    assert found([flag(8, "7")], flagKey="7") == 8


def test_an_id_without_its_flag_finds_the_key() -> None:
    assert found([flag(8, "7")], flagID=7) == 8


def test_a_disabled_flag_hides_neither_id_nor_key() -> None:
    assert found([flag(7, "a", enabled=False), flag(8, "7")], flagID=7) == 8
    assert found([flag(7, "a", enabled=False)], flagKey="a") is None


@pytest.mark.parametrize("key", ["07", "+7", " 7", "７", "7.0"])
def test_only_an_id_as_it_is_written_is_an_id(key: str) -> None:
    assert found([flag(7, "a")], flagKey=key) is None


def test_without_id_and_key_nothing_is_found() -> None:
    assert found([flag(1, "")]) is None
    assert found([flag(1, "")], flagKey="") is None


def test_a_flag_of_another_environment_is_not_found() -> None:
    flags = [flag(1, "a", environmentId=1), flag(2, "b", environmentId=2), flag(3, "c")]
    assert [ask(flags, {"flagKey": key}, 1)["variantID"] for key in "abc"] == [100, None, 100]
    assert [ask(flags, {"flagKey": key})["variantID"] for key in "abc"] == [100, 100, 100]


@pytest.mark.parametrize(
    ("operator", "expected"), [("ANY", [3, 1, 2]), ("ALL", [3]), (None, [3, 1, 2]), ("all", [3, 1, 2])]
)
def test_tags_match_any_unless_all_are_requested(operator: str | None, expected: list[int]) -> None:
    flags = [tagged(1, "a"), tagged(2, "b"), tagged(3, "a", "b"), tagged(4, "a", "b", enabled=False)]
    answers = batch(flags, flagTags=["a", "b", "a"], flagTagsOperator=operator)
    assert [answer.flag_id for answer in answers if answer.entity_id == "u"] == expected


def test_tags_do_not_disclose_flags_of_other_environments() -> None:
    flags = [tagged(1, "a", environmentId=1), tagged(2, "a", environmentId=2)]
    assert {answer.flag_id for answer in batch(flags, environment_id=1, flagTags=["a"])} == {1}
