"""The debug log of a decision: the slow twin of `decide`, for requests with debugging on."""

from collections.abc import Mapping

from .bucket import bucket_of
from .flag import CompiledFlag

__all__ = ["LogLine", "explain"]

LogLine = tuple[int, str]
"""Segment id, 0 for lines about no segment, and message."""


def explain(flag: CompiledFlag, entity_id: str, context: Mapping[str, str]) -> tuple[LogLine, ...]:
    """One line per segment that `decide` tried, in order, with Flagent's messages; the flag must be enabled."""
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
