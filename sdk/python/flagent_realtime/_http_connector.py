"""HTTP requests of the event stream and of polling: the key, redirects, the proxy, and what an error response says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx

from ._http import MAX_PROBLEM_BYTES, cause_text, key_headers, response_error
from ._policy import Outcome, resolve_redirect, status_outcome
from ._transport import TransportHost
from .errors import ConnectionLost, ConnectionRefused

PROBLEM_TIMEOUT_S = 2.0

Check = Callable[[httpx.Response], None]


class HttpConnector:
    """Opens responses for one client, over one pool of connections."""

    def __init__(self, host: TransportHost) -> None:
        self._host = host
        self._http: httpx.AsyncClient | None = None

    @asynccontextmanager
    async def open(
        self, url: str, headers: Mapping[str, str], check: Check, timeout_s: float | None = None
    ) -> AsyncIterator[httpx.Response]:
        """The response with status 200 or 304, whose body is not read yet.

        *check* raises for a response of another kind. *timeout_s* is the time for the response's head; ``None`` is
        the client's ``connect_timeout``. Other responses raise ConnectionLost or ConnectionRefused.
        """
        host = self._host
        key, hop, key_was_renewed = await host._key(), 0, False
        while True:
            response = await self._send(url, {**headers, **key_headers(key)}, timeout_s)
            try:
                outcome = status_outcome(response.status_code)
                if outcome is Outcome.STREAM or response.status_code == 304:
                    check(response)
                    yield response
                    return
                if outcome is Outcome.REDIRECT:
                    hop += 1
                    target = resolve_redirect(url, response.headers.get("Location"), hop)
                    if target is None:
                        raise ConnectionRefused(
                            "the server sent a redirect that must not be followed; check the URL",
                            status=response.status_code,
                        )
                    url, key = target[0], key if target[1] else None
                elif response.status_code == 401 and callable(host._api_key) and not key_was_renewed:
                    key_was_renewed, key = True, await host._key()
                else:
                    raise response_error(response.status_code, response.headers, await self._problem(response))
            finally:
                await response.aclose()

    async def close(self) -> None:
        """Close the pool; a later request opens another one."""
        client, self._http = self._http, None
        if client is not None:
            await client.aclose()

    async def _send(self, url: str, headers: Mapping[str, str], timeout_s: float | None) -> httpx.Response:
        client, connect_timeout = self._http, self._host._connect_timeout
        if client is None:
            ssl_context = self._host._ssl_context
            client = self._http = httpx.AsyncClient(
                verify=ssl_context if ssl_context is not None else True,
                timeout=httpx.Timeout(connect_timeout, read=None),
                follow_redirects=False,
            )
        is_sent = False

        async def trace(name: str, info: Mapping[str, Any]) -> None:
            nonlocal is_sent
            is_sent = is_sent or name.endswith("send_request_headers.started")

        limit = connect_timeout if timeout_s is None else timeout_s
        request = client.build_request("GET", url, headers=headers, extensions={"trace": trace})
        try:
            return await asyncio.wait_for(client.send(request, stream=True), limit)
        except asyncio.TimeoutError as cause:
            raise ConnectionLost(f"no response within {limit:g} s", kind="silent" if is_sent else "refused") from cause
        except httpx.HTTPError as cause:
            kind = "failed" if is_sent else "refused"
            raise ConnectionLost(f"cannot connect: {cause_text(cause)}", kind=kind) from cause

    async def _problem(self, response: httpx.Response) -> bytes:
        """The beginning of a response's body; empty when it does not come in time."""

        async def read() -> bytes:
            body = b""
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_PROBLEM_BYTES:
                    break
            return body[:MAX_PROBLEM_BYTES]

        try:
            return await asyncio.wait_for(read(), min(self._host._connect_timeout, PROBLEM_TIMEOUT_S))
        except (asyncio.TimeoutError, httpx.HTTPError):
            # The status alone decides what follows; the body only explains it.
            return b""
