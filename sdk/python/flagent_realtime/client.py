"""The client that follows through any network: the WebSocket, else the event stream, else polling."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from ._client import RealtimeClient
from ._connection_supervisor import NextStep
from ._polling_transport import POLL_INTERVAL_S, PollingTransport
from ._sse_transport import SseTransport
from ._transport import Transport
from ._transport_choice import RETRY_BETTER_AFTER_S, Action, Input, TransportChoice, TransportName
from ._websocket_transport import WebSocketTransport
from .errors import ConnectionLost, ConnectionRefused, FlagentError
from .subscriptions import Subscription

__all__ = ["FlagentClient", "TransportName"]

logger = logging.getLogger("flagent_realtime")

_FATAL_EVERYWHERE = (401, 403)


class FlagentClient(RealtimeClient):
    """Live flags through any network: ``FlagentClient("https://flags.example", api_key=…)``.

    *url* is the address of the server, with a path where a proxy adds one. The client connects by WebSocket; where the
    network lets none through, by an event stream; where that does not work either, by polling. While it uses a lesser
    transport, it tries the better ones every five minutes. ``transport`` says which one is in use; nothing else
    changes: subscriptions and stores go on, and no change is lost or repeated. While it polls, there are no events:
    handlers of flags are called with what is different, ``on_event`` with RESYNC.

    *ws_path*, *sse_path* and *snapshot_path* are the server's, below *url*. *poll_interval* is in seconds, for a server
    that does not hold requests. See :class:`RealtimeClient` for the other arguments.
    """

    def __init__(
        self,
        url: str,
        *args: Any,
        ws_path: str = "/ws",
        sse_path: str = "/api/v1/events/stream",
        snapshot_path: str = "/api/v1/snapshot",
        poll_interval: float = POLL_INTERVAL_S,
        retry_better_after: float = RETRY_BETTER_AFTER_S,
        **kwargs: Any,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https", "ws", "wss") or not parts.hostname:
            raise ValueError(f"the url is {url!r}; it must be the address of a server, such as https://flags.example")
        if poll_interval <= 0:
            raise ValueError(f"poll_interval is {poll_interval}; it must be more than 0, in seconds")
        self._paths = {TransportName.WEBSOCKET: ws_path, TransportName.SSE: sse_path}
        self._paths[TransportName.POLLING] = snapshot_path
        self._poll_interval = poll_interval
        self._choice = TransportChoice(retry_better_after)
        self._probe_task: asyncio.Task[None] | None = None
        self._last_byte_at: float | None = None
        self._has_message = False
        self._limit_is_reported = False
        super().__init__(url, *args, **kwargs)
        self._supervisor.longest_watch_s = min(1.0, self._connect_timeout / 4)

    def _make_transport(self) -> Transport:
        secure = urlsplit(self.url).scheme in ("https", "wss")
        stream, socket = ("https", "wss") if secure else ("http", "ws")
        self._transports: dict[TransportName, Transport] = {
            TransportName.WEBSOCKET: WebSocketTransport(self, self._address(socket, TransportName.WEBSOCKET)),
            TransportName.SSE: SseTransport(self, self._address(stream, TransportName.SSE)),
            TransportName.POLLING: PollingTransport(
                self, self._address(stream, TransportName.POLLING), self._poll_interval
            ),
        }
        return self._transports[TransportName.WEBSOCKET]

    def _address(self, scheme: str, name: TransportName) -> str:
        parts = urlsplit(self.url)
        path = parts.path.rstrip("/") + self._paths[name]
        return urlunsplit((scheme, parts.netloc, path, parts.query, ""))

    @property
    def transport(self) -> TransportName:
        """How the client reaches the server now, or tries to: ``websocket``, ``sse`` or ``polling``."""
        return self._transport.name

    def subscribe(self, handler: Callable[..., Any], **selectors: Any) -> Subscription:
        """The same as :meth:`subscribe_events`; without selectors, every event about a flag."""
        return self.subscribe_events(handler, **selectors)

    # ------------------------------------------------------------ connections

    async def _run_connection(self) -> None:
        await self._load_saved()
        self._transport = self._transports[self._choice.transport]
        self._has_message, self._last_byte_at = False, None
        await self._transport.run()

    def _opened(self) -> None:
        self._last_byte_at = self._clock.now()
        super()._opened()

    def _heard(self) -> None:
        self._last_byte_at = self._clock.now()

    async def _accept(self, message: Any) -> None:
        if not self._has_message:
            self._has_message = True
            self._choice.step(Input.FIRST_MESSAGE, self._clock.now())
        await super()._accept(message)

    def _tick(self, now: float) -> None:
        super()._tick(now)
        if self._supervisor.is_paused:
            return
        if self._last_byte_at is not None and self._awaits_answer and now - self._last_byte_at > self._connect_timeout:
            self._supervisor.drop(
                f"connected, but no byte arrived for {self._connect_timeout:g} s: a proxy may hold them back",
                kind=Input.SILENT.value,
            )
            return
        step = self._choice.step(Input.TICK, now)
        if step.action is Action.PROBE and step.probe is not None:
            self._start_probe(step.probe)

    @property
    def _awaits_answer(self) -> bool:
        """Whether the server must send something without delay: its first message, or a snapshot."""
        if not self._has_message:
            return self._transport.is_waiting_for(self._request.selection)
        return any(store.awaits_snapshot for store in self._stores)

    def _next_step(self, end: ConnectionLost | ConnectionRefused) -> NextStep:
        self._stop_probe()
        event = self._classify(end)
        if event is None:
            return NextStep.FAIL
        if event is not Input.REFUSED and self._is_confined():
            event = Input.REFUSED
        before = self._choice.transport
        step = self._choice.step(event, self._clock.now())
        if self._choice.transport is not before:
            logger.warning(
                "The client goes on by %s: %s",
                self._choice.transport.value,
                end.reason,
                extra={"action": "transport_changed", "transport": self._choice.transport.value, "reason": end.reason},
            )
        return NextStep.CONNECT if step.action is Action.CONNECT else NextStep.BACKOFF

    def _classify(self, end: ConnectionLost | ConnectionRefused) -> Input | None:
        """What an end says about the transport; ``None`` when it is fatal on each of them."""
        if isinstance(end, ConnectionLost):
            kind = end._kind if end.status is not None or not self._has_message else "lost"
            return Input.SILENT if end._kind == Input.SILENT.value else Input(kind)
        is_answer = end.status is not None and end.status not in _FATAL_EVERYWHERE
        return Input.FAILED if is_answer and self._choice.transport is not TransportName.POLLING else None

    def _is_confined(self) -> bool:
        """Whether the next transport cannot carry the selection; reported once."""
        names = list(TransportName)
        rest = names[names.index(self._choice.transport) + 1 :]
        if not rest or self._transports[rest[0]].can_carry(self._selection()):
            return False
        if not self._limit_is_reported:
            self._limit_is_reported = True
            error = FlagentError(
                f"the selection is too large for the transport {rest[0].value}, so the client stays with "
                f"{self._choice.transport.value}; select less, or everything"
            )
            logger.warning("%s", error, extra={"action": "transport_confined"})
            self._dispatcher.report(error)
        return True

    def _disconnected(self, error: FlagentError) -> None:
        self._last_byte_at = None
        super()._disconnected(error)

    async def _release(self) -> None:
        task = self._probe_task
        self._stop_probe()
        if task is not None:
            await asyncio.gather(task, return_exceptions=True)
        for transport in self._transports.values():
            await transport.release()

    # ----------------------------------------------------------------- probes

    def _start_probe(self, name: TransportName) -> None:
        self._probe_task = asyncio.get_running_loop().create_task(self._probe(name), name="flagent-probe")

    def _stop_probe(self) -> None:
        task, self._probe_task = self._probe_task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    async def _probe(self, name: TransportName) -> None:
        transport = self._transports[name]
        try:
            if not transport.can_carry(self._selection()):
                raise ConnectionLost("it cannot carry the selection")
            await transport.probe()
            event = Input.PROBE_WORKED
        except (FlagentError, asyncio.TimeoutError) as error:
            logger.info(
                "The transport %s does not work yet: %s",
                name.value,
                error,
                extra={"action": "transport_probe_failed", "transport": name.value, "reason": str(error)},
            )
            event = Input.PROBE_FAILED
        self._probe_task = None
        step = self._choice.step(event, self._clock.now())
        if step.action is Action.PROBE and step.probe is not None:
            self._start_probe(step.probe)
        elif step.action is Action.SWITCH:
            self._supervisor.replace(f"the transport {name.value} works again")
