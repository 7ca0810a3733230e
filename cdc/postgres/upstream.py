"""PostgreSQL as the source of a node, or of a relay."""

import asyncio
import logging

from ..admin.installation import attach_pending
from ..core.log.lane import FLAGS, Lane
from ..errors import FlagentCdcError, is_retryable
from ..settings.settings import Settings
from ..source.upstream import Replica, Source
from .capture_monitor import CaptureMonitor
from .exposure_tables import ExposureTables
from .key_reader import KeyReader
from .lane_reader import LaneReader
from .listener import Listener, ListenerOptions, ListenerTimes
from .log_history import PostgresLogHistory
from .log_reader import LogReader
from .pruner import Pruner, Retention
from .table_reader import TableReader

__all__ = ["PostgresUpstream"]

logger = logging.getLogger(__name__)

# How long one attempt may take; a table that is in use is tried again after the listener's next probe.
_ATTACH_S = 1.0

# How long the listener waits for one. It cannot be cancelled, and goes on by itself where the database is silent.
_ATTACH_WAIT_S = 3.0


class PostgresUpstream:
    """The port `Upstream` of a database. It also attaches pending schemas when their tables appear, and prunes.

    A relay, which passes commits on, needs each in one piece, not `in_parts`.
    """

    def __init__(self, settings: Settings, url: str, *, in_parts: bool = True) -> None:
        self._url = url
        self._in_parts = in_parts
        self._retention = Retention(
            settings.retention.max_age_s, settings.retention.max_bytes, settings.retention.lane_max_bytes
        )
        self._takes_exposures = settings.exposures.enabled
        self._exposures_keep_s = settings.exposures.retention_s
        self._prune_interval_s = settings.retention.prune_interval_s
        self._times = ListenerTimes(
            probe_s=settings.listener.probe_interval_s,
            poll_s=settings.listener.poll_interval_s,
            coalesce_s=settings.listener.coalesce_window_s,
        )

    def open(self, replica: Replica, lane: Lane = FLAGS) -> Source:
        # Not the one that others ask: what a client that comes back has missed may take minutes to read.
        own_log = LogReader(self._url, lane)
        is_flags = lane == FLAGS
        options = ListenerOptions(
            is_polled=lane.is_polled,
            # In other lanes only the position is announced, see sql/objects/330_assign_lane_position.sql.
            carries_changes=is_flags,
            in_parts=self._in_parts,
        )
        attaching = _Attaching(self._url, own_log).attach_pending if is_flags else None
        listener = Listener(self._url, own_log, replica, self._times, options, attaching)
        pruner = Pruner(self._url, self._retention, self._prune_interval_s) if is_flags else None
        monitor = CaptureMonitor(self._url) if is_flags else None
        return Source(LogReader(self._url, lane), listener, pruner, monitor)

    def lanes(self) -> LaneReader:
        return LaneReader(self._url)

    def log_history(self, lane: Lane = FLAGS) -> PostgresLogHistory:
        return PostgresLogHistory(self._url, lane)

    def table_source(self) -> TableReader:
        return TableReader(self._url)

    def exposure_store(self) -> ExposureTables | None:
        return ExposureTables(self._url, self._exposures_keep_s) if self._takes_exposures else None

    def key_store(self) -> KeyReader:
        return KeyReader(self._url)


class _Attaching:
    """Attaches schemas for which `migrate` found no tables yet."""

    def __init__(self, url: str, log: LogReader) -> None:
        self._url = url
        self._log = log
        self._refused_schemas: frozenset[str] = frozenset()
        self._attempt: asyncio.Task[None] | None = None

    async def attach_pending(self) -> None:
        """Attach schemas whose tables have appeared since `migrate` waited for them; returns soon in any case."""
        if self._attempt is None or self._attempt.done():
            self._attempt = asyncio.create_task(self._attach_pending())
            # Retrieved also where nothing waits for it any more.
            self._attempt.add_done_callback(lambda attempt: attempt.cancelled() or attempt.exception())
        done, _ = await asyncio.wait([self._attempt], timeout=_ATTACH_WAIT_S)
        for attempt in done:
            attempt.result()
        if not done:
            logger.warning("Attaching a schema takes long", extra={"action": "attach_waiting"})

    async def _attach_pending(self) -> None:
        pending = frozenset(await self._log.pending_schemas())
        if not pending or pending == self._refused_schemas:
            return
        try:
            await asyncio.to_thread(attach_pending, self._url, deadline_s=_ATTACH_S)
        except FlagentCdcError as error:
            if is_retryable(error):
                logger.info(
                    "A schema cannot be attached yet", extra={"action": "attach_deferred", "reason": str(error)}
                )
                return
            # Logged once: a role that may only read cannot attach, and the message says what to do.
            self._refused_schemas = pending
            logger.warning(
                "A schema is not attached; run `flagent-cdc migrate` as its owner",
                extra={"action": "attach_refused", "schemas": sorted(pending), "reason": str(error)},
            )
