"""Snapshots and resyncs as text: the state that a subscription selects, at one position."""

from collections.abc import Iterable

from ..flags.flag import FlagJson
from ..flags.flag_bound import FlagBound
from ..log.position import Position
from ..subscription.resume import ResyncReason
from ..text.json_text import encode

__all__ = ["resync_text", "snapshot_text"]


def snapshot_text(
    position: Position, flags: Iterable[tuple[str, FlagJson]], bound: FlagBound, *, with_schema: bool = False
) -> str:
    """`{"position": …, "flags": […]}` of flags with their schemas, in the order of the catalog; a flag beyond the bound
    is sent reduced.

    `with_schema` adds the schema to each flag, for a catalog of several schemas.
    """
    items: list[str] = []
    for schema, flag in flags:
        _, text = bound.sent_with_text(flag)
        items.append(f'{text[:-1]},"schema":{encode(schema)}}}' if with_schema else text)
    return f'{{"position":"{position}","flags":[{",".join(items)}]}}'


def resync_text(reason: ResyncReason, snapshot: str) -> str:
    """`{"reason": …, "snapshot": {…}}` around a snapshot's text."""
    return f'{{"reason":"{reason}","snapshot":{snapshot}}}'
