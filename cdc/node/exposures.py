"""Takes exposures from clients, and writes their counts every few seconds.

A request only adds to counts in memory, so the database never delays it. What a process has not written yet is lost
when it is killed.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

from ..core.exposure import ExposureCounts, ExposureKey, MinuteCount
from ..errors import SourceError
from ..source.upstream import ExposureStore

__all__ = ["Exposures"]

logger = logging.getLogger(__name__)

WRITE_INTERVAL_S = 2.0
_LAST_WRITE_S = 2.0


class Exposures:
    """The exposures of one process; `unknown` counts those of flags that do not exist."""

    def __init__(self, store: ExposureStore) -> None:
        self.counts = ExposureCounts()
        self.unknown = 0
        self._store = store
        self._is_failing = False

    def add(self, key: ExposureKey, count: int) -> None:
        self.counts.add(key, count)

    async def usage(
        self, schema: str, flag: str, since: datetime, until: datetime, limit: int
    ) -> Sequence[MinuteCount]:
        """The counts of a flag, with those of this process; raises `SourceError`."""
        await self.write()
        return await self._store.usage(schema, flag, since, until, limit)

    async def write(self) -> None:
        """Write what was counted since; raises `SourceError`, and keeps the counts for the next time."""
        taken = self.counts.take()
        if not taken:
            return
        try:
            await self._store.record(taken)
        except BaseException:
            self.counts.give_back(taken)
            raise

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write at intervals until the end of the block, and once more then."""
        task = asyncio.create_task(self._run(), name="exposures")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            try:
                async with asyncio.timeout(_LAST_WRITE_S):
                    await self.write()
            except (SourceError, TimeoutError) as error:
                logger.warning(
                    "The last counts of exposures are lost",
                    extra={"action": "exposures_lost", "reason": str(error), "counts": len(self.counts)},
                )
            await self._store.close()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(WRITE_INTERVAL_S)
            try:
                await self.write()
                self._is_failing = False
            except SourceError as error:
                if not self._is_failing:
                    logger.warning(
                        "Counts of exposures cannot be written; they are kept, and written later",
                        extra={"action": "exposures_not_written", "reason": str(error)},
                    )
                self._is_failing = True
