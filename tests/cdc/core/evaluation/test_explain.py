"""The debug log of a decision."""

from typing import Any

from cdc.core.evaluation import compile_flag
from cdc.core.evaluation.explain import explain

from .flags import PlainRegexes, ask, constraint, flag, segment

NOT_MATCHED = segment(11, constraints=[constraint("country", "EQ", "US")])
NOT_ROLLED_OUT = segment(12, rank=1, rolloutPercent=0)
MATCHED = segment(13, rank=2)


def log_of(debug: bool, **fields: Any) -> dict[str, Any] | None:
    log: dict[str, Any] | None = ask([flag(**fields)], {"flagID": 1, "enableDebug": debug})["evalDebugLog"]
    return log


def test_every_tried_segment_has_a_line() -> None:
    log = log_of(True, segments=[NOT_MATCHED, NOT_ROLLED_OUT, MATCHED, segment(14, rank=3)])
    assert log is not None
    assert [(line["segmentID"], line["msg"]) for line in log["segmentDebugLogs"]] == [
        (11, "segment_id 11 did not match constraints"),
        (12, "matched all constraints. rollout no."),
        (13, "matched all constraints. rollout yes. variantID: 100"),
    ]


def lines(entity_id: str, context: dict[str, str] | None = None, **fields: Any) -> list[tuple[int, str]]:
    return list(explain(compile_flag(flag(**fields), PlainRegexes()), entity_id, context or {}))


def test_segments_after_the_deciding_one_have_no_line() -> None:
    assert [segment_id for segment_id, _ in lines("u", segments=[NOT_MATCHED, NOT_ROLLED_OUT, MATCHED])] == [11, 12, 13]
    assert [segment_id for segment_id, _ in lines("u", {"country": "US"}, segments=[NOT_MATCHED, MATCHED])] == [11]


def test_an_empty_entity_id_is_in_no_rollout() -> None:
    assert lines("", segments=[MATCHED]) == [(13, "matched all constraints. rollout no.")]


def test_a_flag_without_segments_has_one_line_about_the_flag() -> None:
    assert lines("u", segments=[]) == [(0, "flagID 1 has no segments")]
