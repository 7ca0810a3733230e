"""Local evaluation with the semantics of the Flagent server, on the flags of a store. No network.

Rules that are easy to miss: the bucket is salted with the flag's id; the rollout covers the lowest of all buckets;
distributions are sorted by percent; an entity outside the rollout falls through to the next segment; a missing property
fails every operator; without a variant, the result has the id of the last segment evaluated.
"""

from __future__ import annotations

import random
import re
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Union

from ._regex import Undecided, full_match
from ._values import WHITESPACE, ContextValue, context_texts, entity_text, is_blank
from .errors import ReducedFlag
from .flags import Constraint, Flag, Segment

__all__ = ["EvaluationResult", "evaluate_flag"]

_JAVA_TRIMMED = "".join(map(chr, range(0x21)))
_DECIMAL = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)[fFdD]?")
_HEXADECIMAL = re.compile(r"([+-]?0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)[pP][+-]?[0-9]+)[fFdD]?")
_NAMED = re.compile(r"[+-]?(?:NaN|Infinity)")

Lookup = Callable[[str], Union[Flag, None]]


@dataclass(frozen=True)
class EvaluationResult:
    """The evaluation of one flag for one entity.

    ``variant_key`` is ``None`` when the entity gets no variant. ``message`` says why, where that is known.
    ``timestamp`` is ISO-8601. ``raw`` is the server's JSON, empty for a local evaluation.
    """

    flag_id: int
    flag_key: str
    flag_snapshot_id: int
    flag_tags: tuple[str, ...]
    segment_id: int | None
    variant_id: int | None
    variant_key: str | None
    variant_attachment: Mapping[str, str] | None
    entity_id: str | None
    entity_type: str | None
    entity_context: Mapping[str, Any] | None
    message: str | None
    timestamp: str | None
    raw: Mapping[str, Any] = field(repr=False, compare=False, default_factory=dict)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> EvaluationResult:
        """Decode a result of the server, leniently."""
        context, debug = _object(data.get("evalContext")), _object(data.get("evalDebugLog"))
        timestamp = data.get("timestamp")
        tags, attachment = data.get("flagTags"), data.get("variantAttachment")
        return cls(
            flag_id=_typed(data.get("flagID"), int) or 0,
            flag_key=_typed(data.get("flagKey"), str) or "",
            flag_snapshot_id=_typed(data.get("flagSnapshotID"), int) or 0,
            flag_tags=tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else (),
            segment_id=_typed(data.get("segmentID"), int),
            variant_id=_typed(data.get("variantID"), int),
            variant_key=_typed(data.get("variantKey"), str),
            variant_attachment=attachment if isinstance(attachment, dict) else None,
            entity_id=_typed(context.get("entityID"), str),
            entity_type=_typed(context.get("entityType"), str),
            entity_context=_typed(context.get("entityContext"), dict),
            message=_typed(debug.get("msg"), str),
            timestamp=None if timestamp is None else str(timestamp),
            raw=data,
        )


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _typed(value: Any, kind: type) -> Any:
    return value if isinstance(value, kind) and not isinstance(value, bool) else None


def evaluate_flag(
    flag: Flag | None,
    find: Lookup,
    *,
    requested_id: int | None = None,
    requested_key: str | None = None,
    entity_id: str | int | None = None,
    entity_type: str | None = None,
    entity_context: Mapping[str, ContextValue] | None = None,
) -> EvaluationResult:
    """Evaluate *flag* (``None`` or disabled: not found) for an entity. *find* returns a dependency by key."""
    entity_id = entity_text(entity_id)
    if entity_id is None or is_blank(entity_id):
        entity_id = f"randomly_generated_{random.randint(-(2**31), 2**31 - 1)}"  # noqa: S311  not a secret
    found = flag if flag is not None and flag.enabled and not flag.archived else None
    context = context_texts(entity_context)
    segment_id: int | None = None
    variant_id: int | None = None
    message: str | None = "the flag does not exist or is disabled"
    if found is not None:
        message = _blocked_by(found, find, entity_id, context)
        if message is None:
            segment_id, variant_id = _decide(found, entity_id, context)
            message = None if variant_id is not None else ("" if found.segments else "the flag has no segments")
    variant = next((v for v in found.variants if v.id == variant_id), None) if found is not None else None
    return EvaluationResult(
        flag_id=found.id if found is not None else requested_id or 0,
        flag_key=found.key if found is not None else requested_key or "",
        flag_snapshot_id=found.snapshot_id if found is not None else 0,
        flag_tags=tuple(tag.value for tag in found.tags) if found is not None else (),
        segment_id=segment_id,
        variant_id=variant_id,
        variant_key=None if variant is None else variant.key,
        variant_attachment=None if variant is None else variant.attachment,
        entity_id=entity_id,
        entity_type=entity_type if entity_type is not None else (found.entity_type or "" if found is not None else ""),
        entity_context=entity_context,
        message=message,
        timestamp=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )


def _blocked_by(flag: Flag, find: Lookup, entity_id: str, context: Mapping[str, str]) -> str | None:
    """Why a dependency blocks the flag, or ``None``: each must exist and give the entity a variant. A cycle blocks."""
    results = {flag.key: False}
    for key in flag.depends_on:
        if not _gives_variant(key, find, entity_id, context, results):
            return f"the dependency {key!r} is missing, disabled or has no variant"
    return None


def _gives_variant(key: str, find: Lookup, entity_id: str, context: Mapping[str, str], known: dict[str, bool]) -> bool:
    """Whether the flag of a key gives the entity a variant. Iterative, so that a chain may have any length."""
    if key in known:
        return known[key]
    known[key] = False  # reached again below itself, it is part of a cycle, and a cycle blocks
    path = [key]
    while path:
        flag = find(path[-1])
        below = None
        if flag is not None and flag.enabled:
            below = next((each for each in flag.depends_on if not known.get(each, False)), None)
            if below is None:
                known[path[-1]] = _decide(flag, entity_id, context)[1] is not None
        if below is None or below in known:
            path.pop()
        else:
            known[below] = False
            path.append(below)
    return known[key]


def _decide(flag: Flag, entity_id: str, context: Mapping[str, str]) -> tuple[int | None, int | None]:
    """The ids of the last segment evaluated and of the variant."""
    if not flag.enabled:
        return None, None
    if flag.too_large is not None:
        raise ReducedFlag(flag.key, flag.too_large)
    bucket = zlib.crc32(f"{flag.id}{entity_id}".encode("utf-8", "replace")) % 1000 + 1
    segment_id = None
    for segment in sorted(flag.segments, key=lambda each: each.rank):
        segment_id = segment.id
        if all(_holds(constraint, context) for constraint in segment.constraints):
            variant_id = _roll_out(segment, bucket)
            if variant_id is not None:
                return segment_id, variant_id
    return segment_id, None


def _roll_out(segment: Segment, bucket: int) -> int | None:
    percent = segment.rollout_percent
    if percent <= 0 or not segment.distributions or (percent < 100 and bucket > percent * 10):
        return None
    reached = 0
    shares = sorted(segment.distributions, key=lambda each: each.percent)
    for share in shares:
        reached += share.percent * 10
        if reached >= bucket:
            return share.variant_id
    return shares[-1].variant_id


def _holds(constraint: Constraint, context: Mapping[str, str]) -> bool:
    value, operand = context.get(constraint.property), constraint.value
    if value is None:
        return False
    match constraint.operator:
        case "EQ":
            return value == operand
        case "NEQ":
            return value != operand
        case "IN":
            return value in _pieces(operand)
        case "NOTIN":
            return value not in _pieces(operand)
        case "CONTAINS":
            return operand in value
        case "NOTCONTAINS":
            return operand not in value
        case "EREG" | "NEREG" as operator:
            try:
                return full_match(operand, value) is (operator == "EREG")
            except Undecided:
                return False
        case "LT" | "LTE" | "GT" | "GTE" as operator:
            return _compare(operator, parse_double(value), parse_double(operand))
        case _:
            return False


def _pieces(operand: str) -> list[str]:
    return [piece.strip(WHITESPACE) for piece in operand.split(",")]


def _compare(operator: str, left: float | None, right: float | None) -> bool:
    if left is None or right is None:
        return False
    match operator:
        case "LT":
            return left < right
        case "LTE":
            return left <= right
        case "GT":
            return left > right
        case _:
            return left >= right


def parse_double(text: str) -> float | None:
    """Parse a number as Java's ``Double.parseDouble`` does; ``None`` where that raises.

    >>> parse_double("10d"), parse_double("0x1p4"), parse_double("1_0"), parse_double("inf")
    (10.0, 16.0, None, None)
    """
    text = text.strip(_JAVA_TRIMMED)
    if match := _DECIMAL.fullmatch(text):
        return float(match[1])
    if _NAMED.fullmatch(text):
        return float(text)
    if match := _HEXADECIMAL.fullmatch(text):
        try:
            return float.fromhex(match[1])
        except OverflowError:
            return float("-inf") if text.startswith("-") else float("inf")
    return None
