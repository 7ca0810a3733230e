"""Evaluation results in the JSON shape of Flagent's API.

One difference: `timestamp` is an ISO-8601 string with `Z`, as Flagent's typed clients require; Flagent sends a number
that they cannot parse.
"""

from json.encoder import encode_basestring as _quoted
from typing import Any

from ..text.json_text import encode
from .evaluate import Evaluation

__all__ = ["encode_evaluation", "render_evaluation"]


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


def encode_evaluation(evaluation: Evaluation, timestamp: str) -> str:
    """The text of `render_evaluation`, assembled from what was encoded when the flag was compiled.

    Texts of the request need no check for halves of surrogate pairs: `EvaluationRequest.parse` refuses them.
    """
    flag = evaluation.flag
    if flag is not None:
        about_flag = flag.text
    else:
        about_flag = (
            f'"flagID":{evaluation.flag_id},"flagKey":{_quoted(evaluation.flag_key)},"flagSnapshotID":0,"flagTags":[]'
        )
    entity_id, entity_type, context = evaluation.entity_id, evaluation.entity_type, evaluation.context
    if context is None:
        properties = "null"
    else:
        # A third of the time of an encoder, which looks at the type of each value.
        properties = f"{{{','.join([f'{_quoted(name)}:{_quoted(value)}' for name, value in context.items()])}}}"
    return (
        f'{{{about_flag},{evaluation.decision.text},"evalContext":{{'
        f'"entityID":{"null" if entity_id is None else _quoted(entity_id)},'
        f'"entityType":{"null" if entity_type is None else _quoted(entity_type)},'
        f'"entityContext":{properties}}},'
        f'"evalDebugLog":{_debug_log_text(evaluation)},"timestamp":"{timestamp}"}}'
    )


_NOTHING_TO_SAY = encode({"msg": "", "segmentDebugLogs": []})


def _debug_log_text(evaluation: Evaluation) -> str:
    flag = evaluation.flag
    if not evaluation.debug and flag is not None:
        if evaluation.decision.variant_id is not None:
            return "null"
        if flag.steps and not evaluation.log:
            return _NOTHING_TO_SAY
    log = _debug_log(evaluation)
    return "null" if log is None else encode(log)


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
