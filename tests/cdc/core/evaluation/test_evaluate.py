"""Requests and batches: the entity that is used, the order of results."""

from typing import Any

import pytest

from cdc.core.errors import InvalidInput
from cdc.core.evaluation import EvaluationRequest, evaluate

from .flags import FlagList, ask, batch, flag, tagged


def test_the_entity_type_of_the_request_overrides_that_of_the_flag() -> None:
    types = [
        ask([flag(entityType=own)], {"flagID": 1, "entityType": asked})["evalContext"]["entityType"]
        for own, asked in [("user", "device"), ("user", ""), ("user", None), (None, None)]
    ]
    assert types == ["device", "", "user", ""]


def test_a_batch_goes_through_tags_by_entity_then_ids_then_keys() -> None:
    flags = [tagged(1, "web"), tagged(2, "web"), tagged(3)]
    answers = batch(flags, flagTags=["web"], flagIDs=[1, 3], flagKeys=["flag-1"])
    assert [(answer.flag_id, answer.entity_id) for answer in answers] == [
        (2, "u"), (1, "u"), (2, "v"), (1, "v"), (1, "u"), (1, "v"), (3, "u"), (3, "v"), (1, "u"), (1, "v")
    ]  # fmt: skip


def test_a_batch_that_is_too_large_is_refused_before_any_work() -> None:
    with pytest.raises(InvalidInput, match="more than 100 results"):
        batch([], flagIDs=[1] * 51)


def test_what_a_batch_does_not_find_is_named_as_in_the_request() -> None:
    by_id, by_key = batch([], flagIDs=[9], flagKeys=["x"])[::2]
    assert (by_id.flag, by_id.flag_id, by_id.flag_key) == (None, 9, "")
    assert (by_key.flag, by_key.flag_id, by_key.flag_key) == (None, 0, "x")


def test_an_entity_without_an_id_gets_a_random_one_in_each_result() -> None:
    ids = iter("xyz")
    source = FlagList([flag()])
    requests: list[dict[str, Any]] = [{"flagID": 1}, {"flagID": 1, "entityID": " "}, {"flagID": 1, "entityID": "u"}]
    results = [evaluate(source, EvaluationRequest.parse(one), new_entity_id=lambda: next(ids)) for one in requests]
    assert [result.entity_id for result in results] == ["x", "y", "u"]


def test_dependencies_may_come_from_another_source() -> None:
    visible, all_flags = FlagList([flag(1, "a", dependsOn=["b"])]), FlagList([flag(2, "b")])
    request = EvaluationRequest.parse({"flagKey": "a", "entityID": "u"})
    assert evaluate(visible, request, new_entity_id=str).decision.variant_id is None
    assert evaluate(visible, request, new_entity_id=str, dependencies=all_flags).decision.variant_id == 100
