"""Usage of flags that are evaluated locally, which the server would otherwise not see.

    store.on_exposure(lambda exposure: analytics.track(exposure.flag_key, exposure.variant_key))
    reporter = ExposureReporter(client)      # counts, to POST /api/v1/exposures

Neither ever delays or fails an evaluation.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

import httpx

from ._backoff import ReconnectConfig, reconnect_delay
from ._client import RealtimeClient
from ._exposure_counts import MAX_ENTRIES, CountKey, ExposureCounts, report_body
from ._exposure_feed import Exposure
from ._http import cause_text, key_headers, response_error
from ._server_address import server_address
from .errors import ConnectionLost, ConnectionRefused, FlagentError

__all__ = ["Exposure", "ExposureReporter"]

logger = logging.getLogger("flagent_realtime")

LAST_REPORT_S = 1.0
_PATH = "/api/v1/exposures"


class ExposureReporter:
    """Counts the exposures of a client's stores, and sends the counts to the server.

    Every *interval* seconds, or when there are 1 000 different ones. What cannot be sent is kept, up to 10 000
    different counts, and sent later with backoff; then the oldest are dropped, and counted in ``dropped``. When the
    server refuses the reports for good, that is reported once, and nothing is sent any more: ``failure`` says why.

    *url* is the server's address, where it does not follow from the client's. Close the reporter before the client;
    what is left is then sent, within a second.
    """

    def __init__(self, client: RealtimeClient, *, url: str | None = None, interval: float = 10.0) -> None:
        if interval <= 0:
            raise ValueError(f"interval is {interval}; it must be more than 0, in seconds")
        self.url = server_address(client.url, _PATH) if url is None else url.rstrip("/") + _PATH
        self.failure: FlagentError | None = None
        self._client = client
        self._interval = interval
        self._counts = ExposureCounts()
        self._full = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._http: httpx.AsyncClient | None = None
        self._is_closed = False
        self._end = client.on_exposure(self._count)

    @property
    def dropped(self) -> int:
        """Exposures that were not reported, because there was no room for them."""
        return self._counts.dropped + self._client._exposures.dropped

    @property
    def pending(self) -> int:
        """Different counts that wait to be sent."""
        return len(self._counts)

    async def close(self) -> None:
        """Send what is left, within a second, and end. Idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        self._end()
        while self._client._exposures._waiting:
            self._count(self._client._exposures._waiting.popleft())
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        try:
            await asyncio.wait_for(self._send_all(), LAST_REPORT_S)
        except (FlagentError, asyncio.TimeoutError) as error:
            logger.warning(
                "The last counts of exposures are not reported: %s",
                error,
                extra={"action": "exposures_lost", "reason": str(error), "counts": len(self._counts)},
            )
        if self._http is not None:
            await self._http.aclose()

    def _count(self, exposure: Exposure) -> None:
        if self.failure is not None:
            return
        self._counts.add(CountKey(exposure.schema, exposure.flag_key, exposure.variant_key))
        if self._task is None and not self._is_closed:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="flagent-exposures")
        if len(self._counts) >= MAX_ENTRIES:
            self._full.set()

    async def _run(self) -> None:
        attempt, config = 0, ReconnectConfig(max_attempts=0)
        while self.failure is None:
            if attempt == 0:
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._full.wait(), self._interval)
            self._full.clear()
            try:
                await self._send_all()
                attempt = 0
            except ConnectionLost as error:
                attempt += 1
                if attempt == 1:
                    self._report(error, "they are sent later")
                delay = reconnect_delay(
                    config,
                    attempt,
                    self._client._clock.random(),
                    retry_after_ms=error.retry_after_ms,
                )
                await asyncio.sleep(delay or 0.0)
            except ConnectionRefused as error:
                self.failure = error
                self._counts = ExposureCounts()
                self._report(error, "no more are sent")

    def _report(self, error: FlagentError, consequence: str) -> None:
        logger.warning(
            "Exposures cannot be reported, %s: %s",
            consequence,
            error,
            extra={"action": "exposures_not_reported", "reason": str(error)},
        )
        self._client._report_error(error)

    async def _send_all(self) -> None:
        while len(self._counts) and self.failure is None:
            taken = self._counts.take()
            try:
                await self._send(report_body(taken))
            except BaseException:
                self._counts.give_back(taken)
                raise

    async def _send(self, body: dict[str, Any]) -> None:
        client = self._client
        if self._http is None:
            ssl_context = client._ssl_context
            self._http = httpx.AsyncClient(
                verify=ssl_context if ssl_context is not None else True, timeout=client._connect_timeout
            )
        try:
            response = await self._http.post(self.url, json=body, headers=key_headers(await client._key()))
        except httpx.HTTPError as cause:
            raise ConnectionLost(f"exposures cannot be sent: {cause_text(cause)}") from cause
        if response.status_code not in (200, 202):
            raise response_error(response.status_code, response.headers, response.content)
