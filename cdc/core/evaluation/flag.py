"""A flag compiled for evaluation, once per version of the flag, so that decisions are cheap."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any
from zlib import crc32

from ..text.json_text import encode
from .bucket import BUCKETS, salt_of
from .constraint import RegexEngine, Test, compile_constraint
from .rollout import Rollout, compile_rollout

__all__ = ["CompiledFlag", "Decision", "Step", "compile_flag", "decide"]


@dataclass(frozen=True, slots=True)
class Decision:
    """The result for an entity; `segment_id` is the last segment tried, also without a variant.

    `variant_key` and `attachment` are None if the variant no longer exists. `text` has the members of a result that
    come from the decision, encoded once for all results.
    """

    segment_id: int | None
    variant_id: int | None = None
    variant_key: str | None = None
    attachment: Mapping[str, str] | None = None
    text: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        members = {
            "segmentID": self.segment_id,
            "variantID": self.variant_id,
            "variantKey": self.variant_key,
            "variantAttachment": self.attachment,
        }
        object.__setattr__(self, "text", encode(members)[1:-1])


NOTHING = Decision(None)

Step = tuple[tuple[tuple[str, Test], ...], Rollout, tuple[Decision, ...], int]
"""A segment: (property, test) of each constraint, rollout, one decision per variant id of the rollout, segment id."""


@dataclass(frozen=True, slots=True, eq=False)
class CompiledFlag:
    """A compiled flag; `steps` are its segments in the order in which `decide` tries them.

    `text` has the members of a result that name the flag, encoded once for all results.
    """

    id: int
    key: str
    enabled: bool
    snapshot_id: int
    entity_type: str | None
    environment_id: int | None
    depends_on: tuple[str, ...]
    tags: tuple[str, ...]
    salt: int
    steps: tuple[Step, ...]
    unmatched: Decision
    text: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        members = {
            "flagID": self.id,
            "flagKey": self.key,
            "flagSnapshotID": self.snapshot_id,
            "flagTags": list(self.tags),
        }
        object.__setattr__(self, "text", encode(members)[1:-1])


def compile_flag(flag: Mapping[str, Any], regexes: RegexEngine) -> CompiledFlag:
    """Compile a live flag as the catalog's `evaluation_view` gives it: in the REST shape, attachments unstripped."""
    variants = {variant["id"]: (variant["key"], variant["attachment"]) for variant in flag["variants"]}
    steps = tuple(_compile_segment(segment, variants, regexes) for segment in sorted(flag["segments"], key=_by_rank))
    return CompiledFlag(
        id=flag["id"],
        key=flag["key"],
        enabled=flag["enabled"],
        snapshot_id=flag["snapshotID"],
        entity_type=flag["entityType"],
        environment_id=flag["environmentId"],
        depends_on=tuple(flag["dependsOn"]),
        tags=tuple(tag["value"] for tag in sorted(flag["tags"], key=itemgetter("id"))),
        salt=salt_of(flag["id"]),
        steps=steps,
        unmatched=Decision(steps[-1][3]) if steps else NOTHING,
    )


_by_rank = itemgetter("rank", "id")


def _compile_segment(
    segment: Mapping[str, Any],
    variants: Mapping[int, tuple[str, Mapping[str, str] | None]],
    regexes: RegexEngine,
) -> Step:
    rollout = compile_rollout(
        segment["rolloutPercent"], [(share["percent"], share["variantID"]) for share in segment["distributions"]]
    )
    tests = tuple(
        (constraint["property"], compile_constraint(constraint["operator"], constraint["value"], regexes))
        for constraint in segment["constraints"]
    )
    # Every decision of a segment is made once, here, and reused for all requests.
    decisions = tuple(
        Decision(segment["id"], variant_id, *variants.get(variant_id, (None, None)))
        for variant_id in rollout.variant_ids
    )
    return tests, rollout, decisions, segment["id"]


def decide(flag: CompiledFlag, entity_id: str, context: Mapping[str, str]) -> Decision:
    """The decision of the flag itself for an entity; dependencies are not checked.

    The first segment whose constraints all hold and whose rollout includes the entity decides. This is the hot path: it
    creates no objects, and computes the bucket once, when a segment first needs it.
    """
    if not flag.enabled:
        return NOTHING
    number = 0
    for tests, rollout, decisions, _ in flag.steps:
        for name, test in tests:
            value = context.get(name)
            if value is None or not test(value):
                break
        else:
            # bucket_of() + 1, inlined to save the call.
            number = number or crc32(entity_id.encode("utf-8", "replace"), flag.salt) % BUCKETS + 1
            index = rollout.pick(number)
            if index is not None and entity_id:
                return decisions[index]
    return flag.unmatched
