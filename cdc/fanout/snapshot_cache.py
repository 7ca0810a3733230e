"""Snapshots and resyncs: everything that a selection selects at one position, encoded once for equal selections.

After a deploy ten thousand clients reconnect and ask for the same few snapshots; encoding one of a thousand flags takes
milliseconds, handing it on takes none.
"""

from collections.abc import Callable, Iterable

from ..core.flags.catalog import Catalog
from ..core.subscription.resume import ResyncReason
from ..core.subscription.selection import Selections
from ..core.wire.format import Format
from ..core.wire.snapshot import catalog_text

__all__ = ["SnapshotCache", "SnapshotMessage"]

# Messages kept for the catalog's present position; beyond either limit all of them are dropped. Clients choose their
# selections, so their number alone would not bound the memory.
_KEPT = 64
_KEPT_BYTES = 64 * 1024 * 1024


class SnapshotMessage(bytes):
    """A framed snapshot or resync; a newer one replaces it."""


class SnapshotCache:
    """The snapshots and resyncs of one catalog; call `forget` whenever the catalog has changed."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._kept: dict[object, bytes] = {}
        self._kept_bytes = 0

    def forget(self) -> None:
        self._kept.clear()
        self._kept_bytes = 0

    def snapshot(self, format: Format, selections: Selections, request_id: str | None = None) -> Iterable[bytes]:
        """The framed snapshot in one or two pieces."""
        here = self._catalog.here
        head = b"" if request_id is None else format.dialect.snapshot_head(here, request_id)
        if not head:
            return self._whole("snapshot", format, selections, lambda text: format.dialect.snapshot(here, text))
        key = ("tail", format, selections)
        tail = self._kept.get(key)
        if tail is None:
            tail = self._keep(key, format.tail(self._text(selections)[1:].encode()))
        return format.framed_in_two(head, tail)

    def resync(self, format: Format, selections: Selections, reason: ResyncReason) -> Iterable[bytes]:
        """The framed resync."""
        here = self._catalog.here
        return self._whole(reason, format, selections, lambda text: format.dialect.resync(here, reason, text))

    def _whole(
        self, name: str, format: Format, selections: Selections, encode: Callable[[Callable[[], str]], bytes]
    ) -> list[bytes]:
        key = (name, format, selections)
        message = self._kept.get(key)
        if message is None:
            message = self._keep(key, SnapshotMessage(format.frame(encode(lambda: self._text(selections)))))
        return [message]

    def _keep(self, key: object, data: bytes) -> bytes:
        if len(self._kept) >= _KEPT or self._kept_bytes + len(data) > _KEPT_BYTES:
            self.forget()
        self._kept[key] = data
        self._kept_bytes += len(data)
        return data

    def _text(self, selections: Selections) -> str:
        return catalog_text(self._catalog, selections)
