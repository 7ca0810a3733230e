"""What `follow` yields."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Event"]


@dataclass(frozen=True, slots=True)
class Event:
    """An event, or the state that events continue from.

    `type` is that of an event on the wire, such as `flag_updated` or `row_inserted`; or `snapshot`, which comes first
    if it was asked for; or `resync`, after which a program continues from the flags in it: what was between its last
    event and them cannot be sent. `id` is where `follow` resumes after. `data` is the whole message as on the wire.
    """

    type: str
    id: str
    data: Mapping[str, Any]

    @property
    def flag_key(self) -> str | None:
        """The key of the flag that the event is about; None for rows, a snapshot and a resync."""
        key: str | None = self.data.get("flagKey")
        return key

    @property
    def flag(self) -> Mapping[str, Any] | None:
        """The whole flag as of the commit of the event; None if it was deleted, and for what is not about one flag."""
        flag: Mapping[str, Any] | None = self.data.get("flag")
        return flag

    @property
    def flags(self) -> Sequence[Mapping[str, Any]]:
        """The selected flags of a snapshot or a resync; empty for an event."""
        state: Mapping[str, Any] = self.data.get("snapshot") or self.data
        flags: Sequence[Mapping[str, Any]] = state.get("flags", ())
        return flags
