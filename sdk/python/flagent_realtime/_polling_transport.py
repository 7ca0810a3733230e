"""Polling of a snapshot as a transport, for networks that let no stream through.

A response with flags counts as a ``resync``, one without changes as a heartbeat. The server holds a request until the
next commit, so a change arrives almost as fast as on a stream.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import httpx

from ._http import cause_text
from ._http_connector import HttpConnector
from ._selection import MAX_VALUES, Selection, SelectionLimits
from ._store_driver import StoreDriver
from ._transport import Transport, TransportHost
from ._transport_choice import TransportName
from .errors import ConnectionLost

WAIT_MS = 8_000
"""How long the server may hold a request; proxies commonly end one without an answer after 10 s or more."""

SHORTEST_INTERVAL_S = 1.0
POLL_INTERVAL_S = 10.0


class PollingTransport(Transport):
    """Requests the snapshot again and again. *interval_s* is for a server that does not hold requests."""

    name = TransportName.POLLING
    limits = SelectionLimits(MAX_VALUES, is_query=True)

    def __init__(self, host: TransportHost, url: str, interval_s: float = POLL_INTERVAL_S) -> None:
        super().__init__(host, url)
        self._connector = HttpConnector(host)
        self._interval_s = interval_s
        self._etag: str | None = None
        self._hurry = asyncio.Event()

    async def run(self) -> None:
        clock, is_first = self._host._clock, True
        self._host._new_request()
        self._etag = None
        while True:
            self._hurry.clear()
            began = clock.now()
            messages = await self._poll_unless_hurried(is_first)
            if messages is None:
                continue
            if is_first:
                self._host._opened()
                is_first = False
            for message in messages:
                await self._host._accept(message)
            took = clock.now() - began
            is_early = len(messages) == 1 and took < WAIT_MS / 2000
            await self._pause((self._interval_s if is_early else SHORTEST_INTERVAL_S) - took)

    async def probe(self) -> None:
        await self._poll(is_first=True)

    def can_carry(self, selection: Selection) -> bool:
        return super().can_carry(selection) and not selection.tables

    def apply_selection(self) -> None:
        self._poll_anew()

    def request_snapshot(self, store: StoreDriver) -> None:
        self._poll_anew()

    async def release(self) -> None:
        await self._connector.close()

    def _poll_anew(self) -> None:
        self._etag = None
        self._hurry.set()

    async def _poll_unless_hurried(self, is_first: bool) -> list[dict[str, Any]] | None:
        """One request; ``None`` when it was abandoned because another one must be made."""
        poll = asyncio.ensure_future(self._poll(is_first))
        hurry = asyncio.ensure_future(self._hurry.wait())
        try:
            await asyncio.wait((poll, hurry), return_when=asyncio.FIRST_COMPLETED)
            return poll.result() if poll.done() else None
        finally:
            poll.cancel()
            hurry.cancel()
            await asyncio.gather(poll, hurry, return_exceptions=True)

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            try:
                await asyncio.wait_for(self._hurry.wait(), seconds)
            except asyncio.TimeoutError:
                return

    async def _poll(self, is_first: bool) -> list[dict[str, Any]]:
        """One request, as messages in the WebSocket's form."""
        host, etag = self._host, self._etag
        headers = {"Accept": "application/json", "Cache-Control": "no-cache"}
        if etag is not None:
            headers["If-None-Match"] = etag
        timeout_s = host._connect_timeout + (0.0 if etag is None else WAIT_MS / 1000)
        async with self._connector.open(self._address(etag is not None), headers, _check_json, timeout_s) as response:
            if not is_first:
                host._heard()
            is_fresh = "Flagent-Stale" not in response.headers
            event_id = response.headers.get("Flagent-Position", "")
            if response.status_code == 304:
                return [_state("heartbeat", event_id, is_fresh)]
            snapshot = await self._body(response)
        if self._etag is etag:
            self._etag = response.headers.get("ETag")
        event_id = str(snapshot.get("id") or event_id)
        resync = {"type": "resync", "id": event_id, "reason": "polling", "snapshot": snapshot}
        state = _state("connected" if is_first else "heartbeat", event_id, is_fresh)
        if not is_first:
            return [resync, state]
        # Silence is measured by the interval between two answers.
        heartbeat_ms = round(1000 * max(self._interval_s, WAIT_MS / 1000))
        return [{**state, "heartbeatMs": heartbeat_ms}, resync]

    async def _body(self, response: httpx.Response) -> dict[str, Any]:
        limit, parts, size = self._host._max_message_bytes, [], 0
        try:
            async for chunk in response.aiter_bytes():
                size += len(chunk)
                if size > limit:
                    raise ConnectionLost(f"the snapshot has more than {limit} bytes", kind="failed")
                parts.append(chunk)
            snapshot = json.loads(b"".join(parts))
        except httpx.HTTPError as cause:
            raise ConnectionLost(f"the snapshot broke off: {cause_text(cause)}") from cause
        except (ValueError, RecursionError) as cause:
            raise ConnectionLost("the snapshot is not JSON", kind="failed") from cause
        if not isinstance(snapshot, dict) or not isinstance(snapshot.get("flags"), list):
            raise ConnectionLost("the snapshot has no list of flags", kind="failed")
        return snapshot

    def _address(self, waits: bool) -> str:
        parts = urlsplit(self.url)
        selection = self._host._selection()
        query = parse_qsl(parts.query, keep_blank_values=True)
        query += [pair for pair in selection.to_query() if pair[0] in ("flag", "flagID", "tag", "schema")]
        if waits:
            query.append(("waitMs", str(WAIT_MS)))
        return urlunsplit(parts._replace(query=urlencode(query)))


def _check_json(response: httpx.Response) -> None:
    content_type = response.headers.get("Content-Type", "")
    if response.status_code == 200 and content_type.partition(";")[0].strip().lower() != "application/json":
        raise ConnectionLost(
            f"the response is {content_type or 'of no type'!r}, not a snapshot; check the URL, and that the network "
            "needs no login",
            status=200,
            kind="failed",
        )


def _state(kind: str, event_id: str, is_fresh: bool) -> dict[str, Any]:
    position = event_id.partition("@")[0].partition("-")[0]
    return {"type": kind, "position": position, "id": event_id, "fresh": is_fresh, "ageMs": 0}
