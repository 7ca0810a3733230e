"""Looks regularly at what a writer's transaction relies on: that the capture triggers are there and enabled, that
unlogged tables still hold what the change log says, and that watched tables have the columns that it says.

Triggers disappear or change without a message: restores, bulk loaders (`ENABLE TRIGGER ALL`) and migrations of the
owner's do it. The server goes on, and what it delivers is true as far as it was captured; so it stays ready, and says
what is wrong.
"""

import asyncio
import logging
import random
from collections.abc import Sequence
from typing import Any

import psycopg

from ..database.connection import answering_within, connect, set_own_settings, shutdown_socket
from ..database.database_url import redact
from ..database.queries import query
from ..errors import DatabaseError, is_retryable

__all__ = ["CaptureMonitor"]

logger = logging.getLogger(__name__)

_INTERVAL_S = 30.0

# Logging the content of a table again takes as long as a backfill of it.
_ANSWER_S = 600.0

# Named in one line of the log and in one response; a schema without triggers has seven.
_MOST_NAMED = 20


class CaptureMonitor:
    """The port `CaptureCheck`: looks about every `interval_s` until stopped."""

    def __init__(self, url: str, interval_s: float = _INTERVAL_S) -> None:
        self._url = url
        self._target = redact(url)
        self._interval_s = interval_s
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._must_stop = asyncio.Event()
        self._must_look = asyncio.Event()
        self._has_warned = False
        self.problems: Sequence[str] = ()
        self.problem_count = 0

    async def run(self) -> None:
        # At once: what a crash has emptied must not wait.
        wait_s = 0.0
        while not await self._is_stopped_within(wait_s):
            self._must_look.clear()
            # Spread, so that instances that were started together do not meet at a lock each time.
            wait_s = random.uniform(0.5, 1.0) * self._interval_s  # noqa: S311 - jitter
            try:
                await self.look()
            except DatabaseError as error:
                self._on_error(error)
            except Exception:
                # Unknown; nothing would be noticed any more if this ended here.
                logger.exception("The capture could not be checked", extra={"action": "capture_check_failed"})
            else:
                self._has_warned = False

    async def look(self) -> None:
        """Look once; raises `DatabaseError`."""
        self._connection = connection = await connect(self._url, name="capture monitor")
        try:
            await connection.set_isolation_level(psycopg.IsolationLevel.READ_COMMITTED)
            await connection.set_read_only(False)
            with answering_within(connection, _ANSWER_S, self._target):
                async with connection.transaction():
                    await set_own_settings(connection)
                    row = await (await connection.execute(query("relog_unlogged"))).fetchone()
                async with connection.transaction():
                    await set_own_settings(connection)
                    altered = await (await connection.execute(query("log_schema_changes"))).fetchone()
                found = await (await connection.execute(query("capture_problems"))).fetchall()
        finally:
            self._connection = None
            await connection.close()
        if row is not None and row[0]:
            logger.warning(
                "Unlogged tables were emptied by a crash, or are new: their rows were logged again",
                extra={"action": "unlogged_relogged", "tables": row[0]},
            )
        if altered is not None and altered[0]:
            logger.info("The columns of tables have changed", extra={"action": "schema_changed", "tables": altered[0]})
        self._report([f"{table}: {problem}" for table, problem in found])

    def look_soon(self) -> None:
        self._must_look.set()

    def stop(self) -> None:
        """Make `run` return soon, even where it waits for the database."""
        self._must_stop.set()
        self._must_look.set()
        shutdown_socket(self._connection)

    def _report(self, found: Sequence[str]) -> None:
        """Log what has changed since the last look."""
        named = tuple(found[:_MOST_NAMED])
        if len(found) > _MOST_NAMED:
            named += (f"and {len(found) - _MOST_NAMED} more",)
        if named == self.problems:
            return
        self.problems, self.problem_count = named, len(found)
        if found:
            logger.error(
                "Changes are not captured, or not all; `flagent-cdc doctor` shows the remedies",
                extra={"action": "capture_incomplete", "reason": "; ".join(named)},
            )
        else:
            logger.info("All changes are captured again", extra={"action": "capture_complete"})

    async def _is_stopped_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._must_look.wait(), seconds)
        except TimeoutError:
            return False
        return self._must_stop.is_set()

    def _on_error(self, error: DatabaseError) -> None:
        if self._must_stop.is_set():
            return
        if is_retryable(error):
            logger.debug(
                "The capture cannot be checked yet", extra={"action": "capture_check_deferred", "reason": str(error)}
            )
        elif not self._has_warned:
            # Logged once: it needs an operator, and would be repeated for ever.
            self._has_warned = True
            logger.warning(
                "The capture is not checked; run `flagent-cdc migrate` as its owner",
                extra={"action": "capture_check_refused", "reason": str(error)},
            )
