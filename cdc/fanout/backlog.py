"""What one subscriber still has to receive before it is live.

A backlog exists only while its subscriber is behind; a live one has none. It is read in this order: messages in the
outbox, events of the past, the ring from the cursor on.
"""

import asyncio
from collections import deque
from collections.abc import Iterable

from ..core.subscription.resume import AddedSelection
from .history import History
from .snapshot_cache import SnapshotMessage

__all__ = ["SLICE_BYTES", "Backlog"]

# What one write hands to a transport: small enough that a stalled subscriber holds little, large enough that a
# snapshot needs few system calls.
SLICE_BYTES = 64 * 1024


class Backlog:
    """How far one subscriber is behind.

    `outbox` holds framed messages, shared with other subscribers; `sent_bytes` of the first have been written already.
    `cursor` is a place in `history` while there is one, else in the ring. `waiting` is the task that must end before
    anything after the outbox is read; where that task writes to the outbox itself, `drained` is set whenever all of it
    has been sent. `added` narrows what is delivered while a part that was added to the selection catches up.
    """

    __slots__ = ("added", "cursor", "drained", "history", "outbox", "sent_bytes", "waiting")

    def __init__(self, cursor: int = 0, messages: Iterable[bytes] = ()) -> None:
        self.cursor = cursor
        self.outbox: deque[bytes] = deque(messages)
        self.sent_bytes = 0
        self.history: History | None = None
        self.waiting: asyncio.Task[None] | None = None
        self.drained: asyncio.Event | None = None
        self.added: AddedSelection | None = None

    def next_slice(self) -> bytes | memoryview:
        """Take the next bytes out of the outbox, which must not be empty: a message, or a slice of a large one."""
        message, start = self.outbox[0], self.sent_bytes
        end = start + SLICE_BYTES
        if end < len(message):
            self.sent_bytes = end
        else:
            self.outbox.popleft()
            self.sent_bytes = 0
            if not start:
                return message
        # A view, so that what a stalled transport keeps of a message is shared by all.
        return memoryview(message)[start:end]

    def restart(self, messages: Iterable[bytes], cursor: int) -> None:
        """Replace what is still to be read by `messages`, which begin anew.

        A message that is partly sent is finished: its rest must not be missing on the wire. A snapshot of which nothing
        was sent is dropped, and every other message stays.
        """
        begun = 1 if self.sent_bytes else 0
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
