"""Where counts of exposures are kept."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from ..core.exposure import ExposureKey, MinuteCount

__all__ = ["ExposureStore"]


class ExposureStore(Protocol):
    """Writes and reads counts; raises `SourceError`."""

    async def record(self, counts: Mapping[ExposureKey, int]) -> None:
        """Add to the counts of the present minute, by the database's clock."""

    async def usage(
        self, schema: str, flag: str, since: datetime, until: datetime, limit: int
    ) -> Sequence[MinuteCount]:
        """The counts of a flag from `since` to before `until`, oldest first, at most `limit`."""

    async def close(self) -> None: ...
