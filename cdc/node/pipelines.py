"""All streams of one process: the flags' feed, and one more for each stream that tables have of their own.

Feeds of other streams are opened when a table first belongs to them and closed when none does any more. Whoever is
subscribed to a table that has moved to another stream is cut, and finds the right one when it comes back.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager

from ..core.errors import InvalidInput
from ..core.flags.flag_tables import TABLES
from ..core.log.lane import FLAGS, Lane
from ..core.subscription.lane_map import LaneMap
from ..core.subscription.selection import Selections
from ..errors import SourceError, is_retryable
from ..fanout.subscriber import Subscriber
from ..source.upstream import LaneDirectory
from .pipeline import Pipeline

__all__ = ["Pipelines"]

logger = logging.getLogger(__name__)

_LOOK_S = 2.0

# Until it is known which streams there are, nobody can be let in.
_FIRST_LOOK_S = 0.2


class Pipelines:
    """Finds the feed of a subscription. `directory` None is a source that knows the stream of the flags alone."""

    def __init__(self, flags: Pipeline, open: Callable[[Lane], Pipeline], directory: LaneDirectory | None) -> None:
        self.flags = flags
        self._open = open
        self._directory = directory
        self._map = LaneMap()
        self._pipelines: dict[Lane, Pipeline] = {FLAGS: flags}
        self._running: dict[Lane, asyncio.Task[None]] = {}
        self._looking = asyncio.Lock()
        self._looked = asyncio.Event()
        if directory is None:
            self._looked.set()

    @property
    def pipelines(self) -> Mapping[str, Pipeline]:
        """Every feed there is now, by the name of its stream."""
        return {lane.name: pipeline for lane, pipeline in self._pipelines.items()}

    @property
    def is_loaded(self) -> bool:
        """Whether the flags have been read, and which other streams there are: until then nobody can be let in."""
        return self.flags.is_loaded and self._looked.is_set()

    async def loaded(self, timeout_s: float) -> bool:
        """Wait until all is loaded; False where it was not in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._looked.wait()
                await self.flags.loaded(timeout_s)
        return self.is_loaded

    def of(self, selections: Selections) -> Pipeline:
        """The feed that has all that is selected, loaded or not; raises `InvalidInput` where no single one has."""
        return self._pipelines.get(self._map.of(selections), self.flags)

    async def learn_of(self, tables: Iterable[str]) -> None:
        """Look now where one of these tables is not known yet: it may have been watched a moment ago."""
        if not all(self._map.knows(name) or name.rpartition(".")[2] in TABLES for name in tables):
            await self.look()

    async def look(self) -> None:
        """Look now which streams there are, and which tables belong to them."""
        if self._directory is not None:
            async with self._looking:
                await self._look(self._directory)

    def stop_answering(self) -> None:
        """The server ends: whoever waits for changes, or reads a table, is told now."""
        for pipeline in self._pipelines.values():
            pipeline.stop_answering()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow all streams until the end of the block."""
        async with self.flags.running():
            looking = asyncio.create_task(self._keep_looking(), name="streams")
            try:
                yield
            finally:
                looking.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await looking
                for lane in list(self._running):
                    await self._close(lane)
                if self._directory is not None:
                    await self._directory.close()

    async def _keep_looking(self) -> None:
        while self._directory is not None:
            try:
                await self.look()
                self._looked.set()
            except SourceError as error:
                if not is_retryable(error):
                    # What cannot be asked for at all, by an older installation, has no streams.
                    self._looked.set()
                logger.info("Lanes are unavailable", extra={"action": "lanes_unavailable", "reason": str(error)})
            except Exception:
                # Unknown; but streams that come later must still be found.
                logger.exception("Reading the lanes failed", extra={"action": "lanes_failed"})
            await asyncio.sleep(_LOOK_S if self._looked.is_set() else _FIRST_LOOK_S)

    async def _look(self, directory: LaneDirectory) -> None:
        found = LaneMap(tuple(await directory.watched_lanes()))
        if found == self._map:
            return
        wanted = found.lanes | {FLAGS}
        for lane in wanted - self._pipelines.keys():
            pipeline = self._pipelines[lane] = self._open(lane)
            self._running[lane] = asyncio.create_task(_run(pipeline), name=f"lane {lane.name}")
            logger.info("Lane opened", extra={"action": "lane_opened", "lane": lane.name})
        self._map = found
        for pipeline in self._pipelines.values():
            pipeline.hub.cut_those(self._is_misplaced)
        for lane in self._pipelines.keys() - wanted:
            await self._close(lane)

    def _is_misplaced(self, subscriber: Subscriber) -> bool:
        if not subscriber.selections.clauses:
            return False  # it goes where its next subscription belongs
        try:
            return self.of(subscriber.selections).hub is not subscriber.hub
        except InvalidInput:
            return True

    async def _close(self, lane: Lane) -> None:
        running = self._running.pop(lane)
        pipeline = self._pipelines.pop(lane)
        pipeline.hub.cut_those(lambda _: True)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def _run(pipeline: Pipeline) -> None:
    async with pipeline.running():
        await asyncio.Event().wait()
