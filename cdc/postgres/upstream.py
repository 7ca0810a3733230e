"""A node that is fed by PostgreSQL itself."""

import asyncio
import json
import logging

from ..admin.installation import attach_pending
from ..core.log.change import LoadJson
from ..core.log.lane import FLAGS, Lane
from ..errors import FlagentCdcError, is_retryable
from ..settings.settings import Settings
from ..source.upstream import KeyStore, Replica, Source
from .listener import Listener, ListenerTimes
from .log_history import PostgresLogHistory
from .log_reader import LogReader
from .pruner import Pruner, Retention
from .table_reader import TableReader

__all__ = ["PostgresUpstream"]

logger = logging.getLogger(__name__)

# How long one try may take; a table in use by others is tried again at the listener's next idle moment.
_ATTACH_S = 1.0


class PostgresUpstream:
    """The port `Upstream` of a database: schemas that wait for their tables are attached when these appear, the log is
    pruned. `loads` reads the rows; whoever passes commits on needs them whole, and not `in_parts`."""

    def __init__(self, settings: Settings, url: str, loads: LoadJson = json.loads, *, in_parts: bool = True) -> None:
        self._url = url
        self._loads = loads
        self._in_parts = in_parts
        self._retention = Retention(
            settings.retention.max_age_s, settings.retention.max_bytes, settings.retention.lane_max_bytes
        )
        self._prune_interval_s = settings.retention.prune_interval_s
        self._times = ListenerTimes(
            probe_s=settings.listener.probe_interval_s,
            poll_s=settings.listener.poll_interval_s,
            gather_s=settings.listener.coalesce_window_s,
        )

    def open(self, replica: Replica, lane: Lane = FLAGS) -> Source:
        store = LogReader(self._url, lane, self._loads)
        is_flags = lane == FLAGS
        listener = Listener(
            self._url,
            store,
            replica,
            self._times,
            _Attaching(self._url, store).attach_pending if is_flags else None,
            is_polled=lane.is_polled,
            # Notifications of the others carry the position alone, see sql/objects/330_assign_lane_position.sql.
            tells_changes=is_flags,
            in_parts=self._in_parts,
            loads=self._loads,
        )
        return Source(store, listener, Pruner(self._url, self._retention, self._prune_interval_s) if is_flags else None)

    def lanes(self) -> LogReader:
        return LogReader(self._url)

    def log_history(self, lane: Lane = FLAGS) -> PostgresLogHistory:
        return PostgresLogHistory(self._url, lane)

    def table_source(self) -> TableReader:
        return TableReader(self._url)

    def key_store(self) -> KeyStore:
        return LogReader(self._url)


class _Attaching:
    def __init__(self, url: str, store: LogReader) -> None:
        self._url = url
        self._store = store
        self._refused_schemas: frozenset[str] = frozenset()

    async def attach_pending(self) -> None:
        """Attach schemas whose tables have appeared since `migrate` waited for them."""
        pending = frozenset(await self._store.pending_schemas())
        if not pending or pending == self._refused_schemas:
            return
        try:
            await asyncio.to_thread(attach_pending, self._url, deadline_s=_ATTACH_S)
        except FlagentCdcError as error:
            if is_retryable(error):
                logger.info("A schema cannot be attached yet", extra={"action": "attach_put_off", "reason": str(error)})
                return
            # Said once: a role that may only read cannot attach, and the sentence names who must do what.
            self._refused_schemas = pending
            logger.warning(
                "A schema waits to be attached; run `flagent-cdc migrate` as its owner",
                extra={"action": "attach_refused", "schemas": sorted(pending), "reason": str(error)},
            )
