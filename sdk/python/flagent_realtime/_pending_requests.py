"""Requests that wait for a connection or for the response with their ``requestId``."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any


class PendingRequests:
    """The open requests of one client, over all of its connections."""

    def __init__(self) -> None:
        self._responses: dict[str, asyncio.Future[Mapping[str, Any]]] = {}
        self._connections: list[asyncio.Future[None]] = []

    def __len__(self) -> int:
        """The number of requests that wait for a response."""
        return len(self._responses)

    async def connection(self) -> None:
        """Wait for :meth:`connected`; raises the error given to :meth:`close`."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._connections.append(waiter)
        await waiter

    async def response(self, request_id: str) -> Mapping[str, Any]:
        """Wait for the response; raises the error given to :meth:`reject`, :meth:`connection_lost` or :meth:`close`."""
        future: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        self._responses[request_id] = future
        try:
            return await future
        finally:
            self._responses.pop(request_id, None)

    def connected(self) -> None:
        """Requests can be sent."""
        waiters, self._connections = self._connections, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def resolve(self, request_id: str | None, response: Mapping[str, Any]) -> None:
        """Return *response* to the request; ignored when it does not wait."""
        future = self._responses.get(request_id or "")
        if future is not None and not future.done():
            future.set_result(response)

    def reject(self, request_id: str | None, error: Exception) -> bool:
        """Fail the request; returns whether it is one of these."""
        future = self._responses.get(request_id or "")
        if future is None:
            return False
        if not future.done():
            future.set_exception(error)
        return True

    def connection_lost(self, error: Exception) -> None:
        """Fail the requests that were sent; those that wait for a connection stay."""
        for future in self._responses.values():
            if not future.done():
                future.set_exception(error)

    def close(self, error: Exception) -> None:
        """Fail all requests."""
        self.connection_lost(error)
        waiters, self._connections = self._connections, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(error)
