"""Snapshots and resyncs as text: the state that a subscription selects, at one position."""

from collections.abc import Iterable

from ..flags.flag import FlagJson
from ..log.position import Position
from ..subscription.resume import ResyncReason
from ..text.json_text import encode

__all__ = ["resync_text", "snapshot_text"]


def snapshot_text(position: Position, flags: Iterable[tuple[str, FlagJson]], *, with_schema: bool = False) -> str:
    """`{"position": …, "flags": […]}` of flags with their schemas, in the order of the catalog.

    `with_schema` adds the schema to each flag, for a catalog of several schemas.
    """
    items = [{**flag, "schema": schema} if with_schema else flag for schema, flag in flags]
    return encode({"position": str(position), "flags": items})


def resync_text(reason: ResyncReason, snapshot: str) -> str:
    """`{"reason": …, "snapshot": {…}}` around a snapshot's text."""
    return f'{{"reason":"{reason}","snapshot":{snapshot}}}'
