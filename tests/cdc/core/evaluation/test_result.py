"""The rendered answer, and what the debug log says."""

from typing import Any

from .flags import TIMESTAMP, ask, constraint, flag, segment, share

NOT_MATCHED = segment(11, constraints=[constraint("country", "EQ", "US")])


def log_of(debug: bool, **fields: Any) -> dict[str, Any] | None:
    log: dict[str, Any] | None = ask([flag(**fields)], {"flagID": 1, "enableDebug": debug})["evalDebugLog"]
    return log


def test_a_result_has_every_field_of_flagents_api() -> None:
    tags = [{"id": 2, "value": "b"}, {"id": 1, "value": "a"}]
    request = {"flagKey": "a", "entityID": "u", "entityContext": {"age": 25, "none": None}}
    assert ask([flag(tags=tags, entityType="user")], request) == {
        "flagID": 1,
        "flagKey": "a",
        "flagSnapshotID": 7,
        "flagTags": ["a", "b"],
        "segmentID": 10,
        "variantID": 100,
        "variantKey": "on",
        "variantAttachment": None,
        "evalContext": {"entityID": "u", "entityType": "user", "entityContext": {"age": "25"}},
        "evalDebugLog": None,
        "timestamp": TIMESTAMP,
    }


def test_a_flag_that_is_not_found_is_named_as_in_the_request() -> None:
    result = ask([], {"flagKey": "x", "enableDebug": True})
    assert (result["flagID"], result["flagKey"], result["flagSnapshotID"], result["flagTags"]) == (0, "x", 0, [])
    assert result["evalContext"] == {"entityID": None, "entityType": None, "entityContext": None}
    assert result["evalDebugLog"] == {"msg": "flagID 0 not found or deleted", "segmentDebugLogs": []}


def test_a_variant_has_a_log_only_in_debug_mode() -> None:
    assert log_of(False) is None
    assert log_of(True) == {
        "msg": "",
        "segmentDebugLogs": [
            {"segmentID": 10, "msg": "matched all constraints. rollout yes. variantID: 100"},
        ],
    }


def test_without_a_variant_there_is_always_a_log() -> None:
    assert log_of(False, segments=[NOT_MATCHED]) == {"msg": "", "segmentDebugLogs": []}
    log = log_of(True, segments=[NOT_MATCHED])
    assert log is not None
    assert log["msg"] == "segment_id 11 did not match constraints"


def test_the_log_says_that_a_flag_has_no_segments() -> None:
    log = log_of(False, segments=[])
    assert log == {"msg": "flagID 1 has no segments", "segmentDebugLogs": []}
    log = log_of(True, segments=[])
    assert log is not None
    assert log["segmentDebugLogs"] == [{"segmentID": 0, "msg": "flagID 1 has no segments"}]


def test_the_log_names_the_dependency_that_blocks_a_flag() -> None:
    assert log_of(False, dependsOn=["b"]) == {"msg": 'dependency "b" not found', "segmentDebugLogs": []}
    log = log_of(True, dependsOn=["b"])
    assert log is not None
    assert log["segmentDebugLogs"] == [{"segmentID": 0, "msg": 'dependency "b" not found'}]


def test_a_deleted_variant_leaves_only_its_id_in_the_result() -> None:
    result = ask([flag(segments=[segment(distributions=[share(100, 555)])])], {"flagID": 1})
    assert (result["variantID"], result["variantKey"], result["variantAttachment"]) == (555, None, None)
