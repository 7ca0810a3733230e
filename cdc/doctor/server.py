"""Facts about a server, read as a client does: plain requests, a stream, a WebSocket."""

import asyncio
import contextlib
import email.utils
import json
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import httpx2
from cryptography import x509
from websockets.asyncio.client import connect as connect_websocket
from websockets.exceptions import InvalidStatus, WebSocketException

from ..core.diagnosis import ServerFacts, StreamFacts, UnreadableFacts
from ..core.errors import InvalidInput
from .database import LogIdentity

__all__ = ["Target", "read_server"]

_ANSWER_S = 5.0

# A keep-alive may come late by half its interval, and a second more for a busy machine.
_KEEP_ALIVE_SLACK = 1.5

# A proxy that compresses must still pass on the few bytes of an idle stream.
_GZIP_S = 3.0


@dataclass(frozen=True, slots=True)
class Target:
    """The server to check. `credential` is sent as a bearer token. `keep_alive_timeout_s` limits the wait for two
    keep-alives: less frequent ones are not checked. A path of None is not checked.
    """

    url: str
    credential: str | None = None
    sse_path: str | None = "/api/v1/events/stream"
    ws_path: str | None = "/ws"
    keep_alive_timeout_s: float = 60.0


def read_server(target: Target, own_version: str, database: LogIdentity | None = None) -> ServerFacts:
    """The facts about a server, including failures; raises `InvalidInput` for an invalid URL."""
    base = target.url.rstrip("/")
    parts = urlsplit(base)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidInput(
            f"{target.url!r} is not a server URL; use one such as http://127.0.0.1:8080",
            name="--url",
            code="invalid_url",
        )
    facts = ServerFacts(
        base,
        is_exposed=parts.hostname not in ("localhost", "127.0.0.1", "::1"),
        own_version=own_version,
        has_credential=target.credential is not None,
        log_in_database=None if database is None else database.log,
        newest_in_database=None if database is None else database.newest,
        certificate_days=_certificate_days(parts.hostname, parts.port or 443) if parts.scheme == "https" else None,
    )
    return asyncio.run(_ask(facts, target))


async def _ask(facts: ServerFacts, target: Target) -> ServerFacts:
    base = facts.url
    headers = {} if target.credential is None else {"authorization": f"Bearer {target.credential}"}
    async with httpx2.AsyncClient(timeout=_ANSWER_S, headers=headers, follow_redirects=False) as client:
        try:
            info = await client.get(base + "/api/v1/info")
            ready = await client.get(base + "/readyz")
            status = await client.get(base + "/api/v1/status")
        except (httpx2.HTTPError, OSError) as error:
            is_tls = "SSL" in str(error) or "certificate" in str(error)
            return replace(facts, error=_reason(error), error_is_tls=is_tls)
        readiness = _object(ready.content)
        version = _object(info.content).get("version")
        return replace(
            facts,
            version=version if info.status_code == httpx2.codes.OK and isinstance(version, str) else None,
            clock_ahead_s=_clock_ahead(ready.headers.get("date")),
            ready=readiness.get("ready") is True,
            listener=readiness.get("listener"),
            reason=str(readiness.get("reason", "")),
            unreadable=_unreadable(_object(status.content)),
            stream=None
            if target.sse_path is None
            else await _stream(client, base + target.sse_path, target.keep_alive_timeout_s),
            websocket=None if target.ws_path is None else await _websocket_problem(base + target.ws_path, headers),
        )


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _unreadable(status: Mapping[str, Any]) -> tuple[UnreadableFacts, ...]:
    """Empty where the credential may not read the status."""
    try:
        return tuple(
            UnreadableFacts(str(each["table"]), str(each["reason"]), int(each["count"]), int(each["position"]))
            for each in status.get("unreadable", ())
        )
    except (KeyError, TypeError, ValueError):
        return ()


def _clock_ahead(date: str | None) -> float | None:
    if date is None:
        return None
    try:
        there = email.utils.parsedate_to_datetime(date)
    except ValueError:
        return None
    # The header is truncated to whole seconds: half a second on average.
    return (there - datetime.now(UTC)).total_seconds() + 0.5


# -- the stream ------------------------------------------------------------------------------------------------


async def _stream(client: httpx2.AsyncClient, url: str, keep_alive_timeout_s: float) -> StreamFacts:
    # No read timeout, which would end an idle stream; the timeouts below limit the wait.
    timeout = httpx2.Timeout(_ANSWER_S, read=None)
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        async with (
            asyncio.timeout(_ANSWER_S) as limit,
            client.stream("GET", url, headers={"accept-encoding": "identity"}, timeout=timeout) as response,
        ):
            if response.status_code != httpx2.codes.OK:
                return StreamFacts(response.status_code, str(_object(await response.aread()).get("code", "")))
            facts = StreamFacts(
                response.status_code,
                content_type=response.headers.get("content-type", ""),
                coding=response.headers.get("content-encoding", ""),
                cache_control=response.headers.get("cache-control", ""),
            )
            chunks = response.aiter_text()
            text = ""
            if facts.content_type.startswith("text/event-stream"):
                while (greeting := _greeting(text)) is None:
                    text += await anext(chunks)
                facts = _with_greeting(facts, greeting, loop.time() - began)
                limit.reschedule(None)
                keep_alive = await _keep_alive(chunks, text, facts.heartbeat_s or 0.0, keep_alive_timeout_s)
                return replace(facts, keep_alive=keep_alive, gzip_works=await _gzip_works(client, url))
            return replace(facts, first_byte_s=loop.time() - began)
    except TimeoutError:
        return StreamFacts(httpx2.codes.OK)
    except StopAsyncIteration:
        return replace(facts, first_byte_s=loop.time() - began)
    except httpx2.HTTPError as error:
        return StreamFacts(0, _reason(error))


def _greeting(text: str) -> Mapping[str, Any] | None:
    """The data of the `connected` event, once it is complete."""
    _, found, rest = text.partition("event: connected\ndata: ")
    data, is_whole, _ = rest.partition("\n\n")
    return _object(data.encode()) if found and is_whole else None


def _with_greeting(facts: StreamFacts, greeting: Mapping[str, Any], after_s: float) -> StreamFacts:
    return replace(
        facts,
        first_byte_s=after_s,
        greets=True,
        log=str(greeting.get("id", "")).rpartition("@")[2].partition(".")[0],
        position=int(greeting.get("position", 0)),
        is_fresh=greeting.get("fresh") is True,
        heartbeat_s=float(greeting.get("heartbeatMs", 30_000)) / 1000,
    )


async def _keep_alive(
    chunks: AsyncIterator[str], text: str, heartbeat_s: float, keep_alive_timeout_s: float
) -> bool | None:
    """Whether keep-alives arrive in time; None if the wait would exceed its limit.

    It takes two: the first may come soon, and the stream is idle for long only between two.
    """
    wait_s = heartbeat_s * 2 * _KEEP_ALIVE_SLACK + 1
    if heartbeat_s * 2 > keep_alive_timeout_s:
        return None
    with contextlib.suppress(TimeoutError, httpx2.HTTPError):
        async with asyncio.timeout(wait_s):
            async for chunk in chunks:
                text += chunk
                if text.count(": keep-alive") > 1:
                    return True
    return False


async def _gzip_works(client: httpx2.AsyncClient, url: str) -> bool:
    """Whether a compressed stream sends its first event at once too."""
    text = ""
    with contextlib.suppress(TimeoutError, httpx2.HTTPError):
        async with (
            asyncio.timeout(_GZIP_S),
            client.stream(
                "GET", url, headers={"accept-encoding": "gzip"}, timeout=httpx2.Timeout(_ANSWER_S, read=None)
            ) as response,
        ):
            async for chunk in response.aiter_text():
                text += chunk
                if _greeting(text) is not None:
                    return True
    return False


# -- WebSocket and TLS -----------------------------------------------------------------------------------------


async def _websocket_problem(url: str, headers: Mapping[str, str]) -> str:
    """Why a WebSocket cannot be opened and used; "" if it can."""
    address = "ws" + url.removeprefix("http")
    try:
        async with (
            asyncio.timeout(_ANSWER_S),
            connect_websocket(address, additional_headers=headers, open_timeout=_ANSWER_S, close_timeout=1) as socket,
        ):
            # Without a credential the answer is a refusal, which proves the connection too.
            await socket.send('{"type": "ping", "requestId": "doctor"}')
            answer = _object(str(await socket.recv()).encode())
            return "" if "type" in answer else "the answer is not of the flagent-cdc protocol"
    except InvalidStatus as error:
        return f"the upgrade is answered with {error.response.status_code}"
    except TimeoutError:
        return f"no answer within {_ANSWER_S:g} s"
    except (WebSocketException, OSError, EOFError) as error:
        return _reason(error)


def _certificate_days(host: str, port: int) -> float | None:
    """The days until the certificate of the server expires; None if it cannot be read or is not trusted."""
    try:
        with (
            socket.create_connection((host, port), timeout=_ANSWER_S) as plain,
            ssl.create_default_context().wrap_socket(plain, server_hostname=host) as wrapped,
        ):
            shown = wrapped.getpeercert(binary_form=True)
    except OSError:
        return None  # The requests will report why.
    if shown is None:
        return None
    ends = x509.load_der_x509_certificate(shown).not_valid_after_utc
    return (ends - datetime.now(UTC)).total_seconds() / 86_400
