"""What may be observed of a hub's publications, for traces."""

from collections.abc import Sequence
from typing import Protocol

from ..core.log.change import Commit
from ..core.wire.encoded import EncodedEvent

__all__ = ["HubObserver", "NullObserver"]


class HubObserver(Protocol):
    """Called in this order, synchronously; must not raise. Without events only the first is called."""

    def publishing(self) -> None:
        """Commits are about to be applied to the catalog."""

    def delivering(self) -> None:
        """The commits were applied; their events are about to be written."""

    def delivered(self, commits: Sequence[Commit], events: Sequence[EncodedEvent], subscribers: int) -> None:
        """The events of these commits were written to all live subscribers; not every commit has events."""


class NullObserver:
    """Observes nothing."""

    def publishing(self) -> None: ...

    def delivering(self) -> None: ...

    def delivered(self, commits: Sequence[Commit], events: Sequence[EncodedEvent], subscribers: int) -> None: ...
