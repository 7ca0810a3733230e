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
from ..core.log.lane import FLAGS, Stream
from ..core.subscription.lane_map import StreamMap
from ..core.subscription.selection import Selections
from ..errors import SourceError, is_retryable
from ..fanout.subscriber import Subscriber
from ..source.upstream import StreamDirectory
from .pipeline import Feed

__all__ = ["Streams"]

logger = logging.getLogger(__name__)

_LOOK_S = 2.0

# Until it is known which streams there are, nobody can be let in.
_FIRST_LOOK_S = 0.2


class Streams:
    """Finds the feed of a subscription. `directory` None is a source that knows the stream of the flags alone."""

    def __init__(self, flags: Feed, open: Callable[[Stream], Feed], directory: StreamDirectory | None) -> None:
        self.flags = flags
        self._open = open
        self._directory = directory
        self._map = StreamMap()
        self._feeds: dict[Stream, Feed] = {FLAGS: flags}
        self._running: dict[Stream, asyncio.Task[None]] = {}
        self._looking = asyncio.Lock()
        self._looked = asyncio.Event()
        if directory is None:
            self._looked.set()

    @property
    def feeds(self) -> Mapping[str, Feed]:
        """Every feed there is now, by the name of its stream."""
        return {stream.name: feed for stream, feed in self._feeds.items()}

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

    def of(self, selections: Selections) -> Feed:
        """The feed that has all that is selected, loaded or not; raises `InvalidInput` where no single one has."""
        return self._feeds.get(self._map.of(selections), self.flags)

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
        for feed in self._feeds.values():
            feed.stop_answering()

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
                for stream in list(self._running):
                    await self._close(stream)
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
                logger.info("Streams cannot be read", extra={"action": "streams_unread", "reason": str(error)})
            except Exception:
                # Unknown; but streams that come later must still be found.
                logger.exception("Looking for streams failed", extra={"action": "streams_failed"})
            await asyncio.sleep(_LOOK_S if self._looked.is_set() else _FIRST_LOOK_S)

    async def _look(self, directory: StreamDirectory) -> None:
        found = StreamMap(tuple(await directory.watched_streams()))
        if found == self._map:
            return
        wanted = found.streams | {FLAGS}
        for stream in wanted - self._feeds.keys():
            feed = self._feeds[stream] = self._open(stream)
            self._running[stream] = asyncio.create_task(_run(feed), name=f"stream {stream.name}")
            logger.info("A stream is followed", extra={"action": "stream_opened", "stream": stream.name})
        self._map = found
        for feed in self._feeds.values():
            feed.hub.cut_those(self._is_misplaced)
        for stream in self._feeds.keys() - wanted:
            await self._close(stream)

    def _is_misplaced(self, subscriber: Subscriber) -> bool:
        if not subscriber.selections.clauses:
            return False  # it goes where its next subscription belongs
        try:
            return self.of(subscriber.selections).hub is not subscriber.hub
        except InvalidInput:
            return True

    async def _close(self, stream: Stream) -> None:
        running = self._running.pop(stream)
        feed = self._feeds.pop(stream)
        feed.hub.cut_those(lambda _: True)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def _run(feed: Feed) -> None:
    async with feed.running():
        await asyncio.Event().wait()
