"""Compiled flags and their decisions."""

from typing import Any

from cdc.core.evaluation import CompiledFlag, Decision, compile_flag, decide

from .flags import PlainRegexes, constraint, flag, segment, share, variant


def compiled(**fields: Any) -> CompiledFlag:
    return compile_flag(flag(**fields), PlainRegexes())


def test_a_compiled_flag_has_what_answers_need() -> None:
    tags = [{"id": 2, "value": "b"}, {"id": 1, "value": "a"}]
    one = compiled(tags=tags, entityType="user", environmentId=3, dependsOn=["x"])
    assert (one.id, one.key, one.enabled, one.snapshot_id) == (1, "a", True, 7)
    assert (one.entity_type, one.environment_id, one.depends_on, one.tags) == ("user", 3, ("x",), ("a", "b"))


def test_segments_are_tried_by_rank_then_by_id() -> None:
    segments = [segment(12, rank=1), segment(11, rank=1), segment(13, rank=0)]
    assert [step[3] for step in compiled(segments=segments).steps] == [13, 11, 12]


def test_the_first_segment_whose_constraints_hold_decides() -> None:
    german = segment(11, constraints=[constraint("country", "EQ", "DE")], distributions=[share(100, 101)])
    one = compiled(segments=[german, segment(12, rank=1)], variants=[variant(), variant(101, "de", {"a": "b"})])
    assert decide(one, "u", {"country": "DE"}) == Decision(11, 101, "de", {"a": "b"})
    assert decide(one, "u", {"country": "FR"}) == Decision(12, 100, "on", None)
    assert decide(one, "u", {}) == Decision(12, 100, "on", None)


def test_all_constraints_of_a_segment_must_hold() -> None:
    both = segment(11, constraints=[constraint("country", "EQ", "DE"), constraint("age", "GT", "17")])
    one = compiled(segments=[both])
    assert decide(one, "u", {"country": "DE", "age": "18"}).variant_id == 100
    for context in ({"country": "DE"}, {"age": "18"}, {"country": "DE", "age": "17"}):
        assert decide(one, "u", context) == Decision(11)


def test_without_a_match_the_last_segment_is_named() -> None:
    one = compiled(segments=[segment(11, rolloutPercent=0), segment(12, rank=1, rolloutPercent=0)])
    assert decide(one, "u", {}) == Decision(12)


def test_a_flag_that_is_disabled_or_empty_decides_nothing() -> None:
    assert decide(compiled(enabled=False), "u", {}) == Decision(None)
    assert decide(compiled(segments=[]), "u", {}) == Decision(None)


def test_an_empty_entity_id_gets_no_variant() -> None:
    assert decide(compiled(), "", {}) == Decision(10)


def test_decisions_are_made_once_and_reused() -> None:
    one = compiled()
    assert decide(one, "u", {}) is decide(one, "v", {})


def test_a_deleted_variant_leaves_only_its_id() -> None:
    one = compiled(segments=[segment(distributions=[share(100, 555)])])
    assert decide(one, "u", {}) == Decision(10, 555, None, None)
