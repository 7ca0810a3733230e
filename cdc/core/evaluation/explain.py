"""The debug log of a decision: the slow twin of `decide`, run only when somebody asks."""

from collections.abc import Mapping

from .bucket import bucket_of
from .flag import CompiledFlag

__all__ = ["LogLine", "explain"]

LogLine = tuple[int, str]
"""Segment id and what happened there; 0 where it is not about a segment."""


def explain(flag: CompiledFlag, entity_id: str, context: Mapping[str, str]) -> tuple[LogLine, ...]:
    """One line per segment of an enabled flag that was looked at, in order, worded as Flagent does."""
    if not flag.steps:
        return ((0, f"flagID {flag.id} has no segments"),)
    lines: list[LogLine] = []
    for tests, rollout, decisions, segment_id in flag.steps:
        if not all(name in context and test(context[name]) for name, test in tests):
            lines.append((segment_id, f"segment_id {segment_id} did not match constraints"))
            continue
        index = rollout.pick(bucket_of(flag.salt, entity_id) + 1)
        if index is None or not entity_id:
            lines.append((segment_id, "matched all constraints. rollout no."))
            continue
        lines.append((segment_id, f"matched all constraints. rollout yes. variantID: {decisions[index].variant_id}"))
        break
    return tuple(lines)
