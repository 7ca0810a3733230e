"""Snapshots and resyncs: everything that a selection selects at one position, shared by equal selections.

After a deploy ten thousand clients reconnect and ask for the same few snapshots: what is selected is found once, and
each chunk of it is encoded once.
"""

from typing import TypeVar

from ..core.flags.catalog import Catalog
from ..core.subscription.resume import ResyncReason
from ..core.subscription.selection import Selections
from ..core.wire.format import Format
from ..core.wire.selected_flags import SelectedFlags
from .snapshot_message import SnapshotMessage

__all__ = ["SnapshotCache"]

# Kept for the catalog's present position; beyond it all are dropped. Clients choose their selections, so their number
# alone would not bound the memory. Most of what is kept is shared with the catalog.
_KEPT = 64

K = TypeVar("K")
T = TypeVar("T")

# Where the flags stand in the outline of a snapshot: JSON text never contains it.
_FLAGS = "\0"


class SnapshotCache:
    """The snapshots and resyncs of one catalog; call `forget` whenever the catalog has changed."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._flags: dict[Selections, SelectedFlags] = {}
        self._messages: dict[object, SnapshotMessage] = {}

    def forget(self) -> None:
        self._flags.clear()
        self._messages.clear()

    def snapshot(self, format: Format, selections: Selections, request_id: str | None = None) -> SnapshotMessage:
        here, outline = self._catalog.here, self._outline()
        head = b"" if request_id is None else format.dialect.snapshot_head(here, request_id)
        if head:
            return self._message(format, selections, head + outline[1:].encode())
        key = ("snapshot", format, selections)
        message = self._messages.get(key)
        if message is None:
            around = format.dialect.snapshot(here, lambda: outline)
            message = _keep(self._messages, key, self._message(format, selections, around))
        return message

    def resync(self, format: Format, selections: Selections, reason: ResyncReason) -> SnapshotMessage:
        key = (reason, format, selections)
        message = self._messages.get(key)
        if message is None:
            around = format.dialect.resync(self._catalog.here, reason, self._outline)
            message = _keep(self._messages, key, self._message(format, selections, around))
        return message

    def _outline(self) -> str:
        """The text of a snapshot without its flags."""
        return f'{{"position":"{self._catalog.position}","flags":[{_FLAGS}]}}'

    def _message(self, format: Format, selections: Selections, around: bytes) -> SnapshotMessage:
        before, mark, after = around.partition(_FLAGS.encode())
        if not mark:
            return SnapshotMessage(format, before)  # a dialect whose clients fetch the flags elsewhere
        flags = self._flags.get(selections)
        if flags is None:
            flags = _keep(self._flags, selections, SelectedFlags(self._catalog, selections))
        return SnapshotMessage(format, before, flags, after)


def _keep(kept: dict[K, T], key: K, value: T) -> T:
    if len(kept) >= _KEPT:
        kept.clear()
    kept[key] = value
    return value
