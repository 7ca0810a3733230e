"""The pipelines of one process: one for the flags' lane, and one for each other lane that has watched tables.

A lane's pipeline is opened when the first table is watched in it and closed when the last one leaves. A subscriber of a
table that has moved to another lane is disconnected, and finds the right pipeline when it reconnects.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial

from ..core.errors import InvalidInput
from ..core.flags.flag_tables import TABLES
from ..core.log.lane import FLAGS, Lane
from ..core.row_filter.row_filter import RowFilter
from ..core.row_filter.row_query import RowQuery
from ..core.subscription.grant import Grant
from ..core.subscription.lane_map import LaneMap
from ..core.subscription.selection import Selection, Selections
from ..errors import SourceError, is_retryable
from ..fanout.subscriber import Subscriber
from ..filters.compiler import FilterCompiler
from ..source.upstream import LaneDirectory
from .pipeline import Pipeline

__all__ = ["Pipelines"]

logger = logging.getLogger(__name__)

_LOOK_S = 2.0
_TOGETHER_S = 0.1

# No client is admitted before the lanes are known.
_FIRST_LOOK_S = 0.2


class Pipelines:
    """Finds the pipeline of a subscription. `directory` None is a source that has the flags' lane alone."""

    def __init__(self, flags: Pipeline, open: Callable[[Lane], Pipeline], directory: LaneDirectory | None) -> None:
        self.flags = flags
        self._open = open
        self._directory = directory
        self._map = LaneMap()
        self._filters = FilterCompiler()
        self._pipelines: dict[Lane, Pipeline] = {FLAGS: flags}
        self._running: dict[Lane, asyncio.Task[None]] = {}
        self._looking = asyncio.Lock()
        self._next_look: asyncio.Task[None] | None = None
        self._looked = asyncio.Event()
        if directory is None:
            self._looked.set()

    @property
    def pipelines(self) -> Mapping[str, Pipeline]:
        """The open pipelines by the name of their lane."""
        return {lane.name: pipeline for lane, pipeline in self._pipelines.items()}

    @property
    def is_loaded(self) -> bool:
        """Whether the flags and the list of lanes have been read; until then no client is admitted."""
        return self.flags.is_loaded and self._looked.is_set()

    async def loaded(self, timeout_s: float) -> bool:
        """Wait until everything is loaded; False where it was not within `timeout_s`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._looked.wait()
                await self.flags.loaded(timeout_s)
        return self.is_loaded

    def of(self, selections: Selections) -> Pipeline:
        """The pipeline that has everything selected, loaded or not; raises `InvalidInput` where no single one has."""
        return self._pipelines.get(self._map.of(selections), self.flags)

    def compiled(self, selection: Selection) -> Selection:
        """The selection with the filters of its tables' rows, which are those of the columns that they have now; raises
        `InvalidInput`. It must be limited to a grant before: what that hides does not exist."""
        return self._filters.compiled(selection, self._map)

    def row_filters(self, tables: Iterable[str], query: RowQuery | None, grant: Grant) -> Mapping[str, RowFilter]:
        """The filters of these tables, of all where none is named, by the tables' names with the schema.

        Raises `InvalidInput`. A table on whose rows the grant imposes something is missing only if it is not known yet.
        """
        if query is None and not grant.rows:
            return {}
        names = list(tables) or self._map.names
        if not names:
            return {}
        compiled = self.compiled(Selection.of(tables=names, row_query=query).within(grant))
        return {filter.table: filter for filter in compiled.row_filters}

    async def learn_of(self, tables: Iterable[str]) -> None:
        """Look now if one of these tables is not known yet: it may have been watched a moment ago."""
        if not all(self._map.knows(name) or name.rpartition(".")[2] in TABLES for name in tables):
            await self.look_again()

    async def look_again(self) -> None:
        """Look after this moment, in one look with all who ask at about the same time: a client that asks for tables
        which do not exist must not keep the database busy. Raises `SourceError`."""
        if self._next_look is None:
            self._next_look = asyncio.create_task(self._look_together(), name="look again")
            # Retrieved also where nobody waits for it any more.
            self._next_look.add_done_callback(lambda look: look.cancelled() or look.exception())
        await asyncio.shield(self._next_look)

    async def _look_together(self) -> None:
        await asyncio.sleep(_TOGETHER_S)
        self._next_look = None
        await self.look()

    def watches(self, table: str) -> bool:
        """Whether a table of this name is watched, with its schema or without; ask after `learn_of`."""
        return self._map.knows(table)

    async def look(self) -> None:
        """Read now which lanes there are, and which tables belong to them."""
        if self._directory is not None:
            async with self._looking:
                await self._look(self._directory)

    def stop_answering(self) -> None:
        """The server shuts down: answer waiting readers of the change feed now, and abort backfills."""
        for pipeline in self._pipelines.values():
            pipeline.stop_answering()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow all lanes until the end of the block."""
        async with self.flags.running():
            looking = asyncio.create_task(self._keep_looking(), name="lanes")
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
                    # An older installation, which cannot be asked for lanes, has only one.
                    self._looked.set()
                logger.info("Lanes are unavailable", extra={"action": "lanes_unavailable", "reason": str(error)})
            except Exception:
                # Unexpected; but lanes that are added later must still be found.
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
        if found.altered_since(self._map):
            # Logged in the transaction that did it, unless event triggers are missing.
            self.flags.check_capture()
        self._map = found
        for pipeline in self._pipelines.values():
            pipeline.hub.disconnect_where(partial(self._why_misplaced, pipeline))
        for lane in self._pipelines.keys() - wanted:
            await self._close(lane)

    def _why_misplaced(self, pipeline: Pipeline, subscriber: Subscriber) -> InvalidInput | None:
        """Why a subscriber must connect again; None where it is right where it is."""
        selections = subscriber.selections
        if not selections.clauses:
            return None  # its next subscription decides where it belongs
        try:
            if self.of(selections) is not pipeline:
                return _moved()
            if self._filters.all_compiled(selections, self._map) != selections:
                # Its filter may mean something else now, which the next connection finds.
                return InvalidInput("the columns of a filtered table have changed; reconnect", code="columns_changed")
        except InvalidInput as error:
            return error if selections.filters_rows else _moved()
        return None

    async def _close(self, lane: Lane) -> None:
        running = self._running.pop(lane)
        pipeline = self._pipelines.pop(lane)
        pipeline.hub.disconnect_where(lambda _: _moved())
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def _run(pipeline: Pipeline) -> None:
    async with pipeline.running():
        await asyncio.Event().wait()


def _moved() -> InvalidInput:
    return InvalidInput("a selected table has moved to another lane; reconnect", code="table_moved")
