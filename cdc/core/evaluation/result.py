"""Evaluation results in the JSON shape of Flagent's API.

One difference: `timestamp` is an ISO-8601 string with `Z`, as Flagent's typed clients require; Flagent sends a number
that they cannot parse.
"""

from typing import Any

from .evaluate import Evaluation

__all__ = ["render_evaluation"]


def render_evaluation(evaluation: Evaluation, timestamp: str) -> dict[str, Any]:
    """The result object. `timestamp` is the time of the evaluation, ISO-8601 in UTC with `Z`."""
    flag, decision = evaluation.flag, evaluation.decision
    return {
        "flagID": evaluation.flag_id,
        "flagKey": evaluation.flag_key,
        "flagSnapshotID": flag.snapshot_id if flag is not None else 0,
        "flagTags": list(flag.tags) if flag is not None else [],
        "segmentID": decision.segment_id,
        "variantID": decision.variant_id,
        "variantKey": decision.variant_key,
        "variantAttachment": decision.attachment,
        "evalContext": {
            "entityID": evaluation.entity_id,
            "entityType": evaluation.entity_type,
            "entityContext": evaluation.context,
        },
        "evalDebugLog": _debug_log(evaluation),
        "timestamp": timestamp,
    }


def _debug_log(evaluation: Evaluation) -> dict[str, Any] | None:
    """Always present without a variant, to say why; with a variant only in debug mode."""
    if evaluation.decision.variant_id is not None and not evaluation.debug:
        return None
    return {
        "msg": _message(evaluation),
        "segmentDebugLogs": [{"segmentID": segment_id, "msg": message} for segment_id, message in evaluation.log]
        if evaluation.debug
        else [],
    }


def _message(evaluation: Evaluation) -> str:
    flag = evaluation.flag
    if evaluation.decision.variant_id is not None:
        return ""
    if flag is not None and not flag.steps:
        return f"flagID {flag.id} has no segments"
    return evaluation.log[0][1] if evaluation.log else ""
