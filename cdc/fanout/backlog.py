"""What one subscriber still has to receive before it is live.

A backlog exists only while its subscriber is behind; a live one has none. It is read in this order: messages in the
outbox, events of the past, the ring from the cursor on.
"""

import asyncio
from collections import deque
from collections.abc import Iterable

from ..core.subscription.resume import AddedSelection, ResyncReason
from .history import History
from .snapshot_message import SnapshotMessage

__all__ = ["SLICE_BYTES", "Backlog"]

# What one write hands to a transport: small enough that a stalled subscriber holds little, large enough that a
# snapshot needs few system calls.
SLICE_BYTES = 64 * 1024


class Backlog:
    """How far one subscriber is behind.

    `outbox` holds framed messages, shared with other subscribers. Of a snapshot, which has pieces, `sent_pieces` have
    been written already, and `sent_bytes` of the first message or piece that has not.
    `cursor` is a place in `history` while there is one, else in the ring. `waiting` is the task that must end before
    anything after the outbox is read; where that task writes to the outbox itself, `drained` is set whenever all of it
    has been sent. `added` narrows what is delivered while a part that was added to the selection catches up.
    With `resync_for` all of it gives way to a resync, when it is this subscriber's turn.
    """

    __slots__ = (
        "added", "cursor", "drained", "history", "outbox", "resync_for", "sent_bytes", "sent_pieces", "waiting"
    )  # fmt: skip

    def __init__(self, cursor: int = 0, messages: Iterable[bytes | SnapshotMessage] = ()) -> None:
        self.cursor = cursor
        self.outbox: deque[bytes | SnapshotMessage] = deque(messages)
        self.sent_bytes = self.sent_pieces = 0
        self.resync_for: ResyncReason | None = None
        self.history: History | None = None
        self.waiting: asyncio.Task[None] | None = None
        self.drained: asyncio.Event | None = None
        self.added: AddedSelection | None = None

    def next_slice(self) -> bytes | memoryview:
        """Take the next bytes out of the outbox, which must not be empty: a message or piece, or a slice of a large
        one; empty where a piece is."""
        first, start = self.outbox[0], self.sent_bytes
        message = first.piece(self.sent_pieces) if isinstance(first, SnapshotMessage) else first
        end = start + SLICE_BYTES
        if end < len(message):
            self.sent_bytes = end
        else:
            self.sent_bytes = 0
            if isinstance(first, SnapshotMessage) and self.sent_pieces + 1 < first.count:
                self.sent_pieces += 1
            else:
                self.sent_pieces = 0
                self.outbox.popleft()
            if not start:
                return message
        # A view, so that what a stalled transport keeps of a message is shared by all.
        return memoryview(message)[start:end]

    @property
    def is_in_large_snapshot(self) -> bool:
        """Whether the next bytes are a piece of many, which may have to be encoded first."""
        first = self.outbox[0] if self.outbox else None
        return isinstance(first, SnapshotMessage) and first.count > 1

    def restart(self, messages: Iterable[bytes | SnapshotMessage], cursor: int) -> None:
        """Replace what is still to be read by `messages`, which begin anew.

        A message that is partly sent is finished: its rest must not be missing on the wire. A snapshot of which nothing
        was sent is dropped, and every other message stays.
        """
        begun = 1 if self.sent_bytes or self.sent_pieces else 0
        self.outbox = deque(
            message
            for place, message in enumerate(self.outbox)
            if place < begun or not isinstance(message, SnapshotMessage)
        )
        self.outbox.extend(messages)
        self.history = self.added = None
        self.cursor = cursor

    def stop(self) -> None:
        """Cancel what is being read for it."""
        if self.waiting is not None:
            self.waiting.cancel()
        self.waiting = self.drained = self.history = None
