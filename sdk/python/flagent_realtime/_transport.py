"""What a transport is to a client, and a client to its transports.

A transport opens one connection at a time and passes each message, in the WebSocket's form, to the client. It keeps no
subscriptions and no stores: it asks the client what to request.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from ssl import SSLContext
from typing import Any, Protocol, Union

from ._clock import Clock
from ._connection_supervisor import ConnectionSupervisor
from ._dispatcher import Dispatcher
from ._selection import Selection, SelectionLimits
from ._store_driver import StoreDriver
from ._transport_choice import TransportName
from .errors import FlagentError, MalformedMessage

ApiKey = Union[str, Callable[[], Union[str, Awaitable[str]]], None]


@dataclass(frozen=True)
class ConnectionRequest:
    """What a new connection asks for. ``last_event_id`` and ``snapshot`` exclude each other."""

    selection: Selection
    last_event_id: str | None
    snapshot: bool


class TransportHost(Protocol):
    """What a transport uses of its client; underscored, because the client is public."""

    _api_key: ApiKey
    _clock: Clock
    _connect_timeout: float
    _dispatcher: Dispatcher
    _is_greeted: bool
    _max_message_bytes: int
    _request: ConnectionRequest
    _ssl_context: SSLContext | None
    _stores: list[StoreDriver]
    _supervisor: ConnectionSupervisor

    def _new_request(self) -> ConnectionRequest:
        """Decide what to request from the server now."""

    def _opened(self) -> None:
        """The transport is connected."""

    def _heard(self) -> None:
        """Bytes arrived."""

    async def _accept(self, message: Mapping[str, Any]) -> None:
        """Process one message. Waits while the handlers' queue is full."""

    def _report(self, error: MalformedMessage) -> None:
        """Report a message that was skipped."""

    def _feed(self, store: StoreDriver, message: Mapping[str, Any], now: float) -> MalformedMessage | None:
        """Pass a message to one store; returns why it was malformed."""

    def _selection(self) -> Selection:
        """What the subscriptions and stores select together."""

    async def _key(self) -> str | None:
        """The API key for a new connection."""


class Transport(ABC):
    """One way to follow a server. ``url`` is the address of its endpoint."""

    name: TransportName
    limits: SelectionLimits

    def __init__(self, host: TransportHost, url: str) -> None:
        self._host = host
        self.url = url

    @abstractmethod
    async def run(self) -> None:
        """Open one connection for ``_new_request`` and read it to its end.

        Raises :exc:`ConnectionLost` or :exc:`ConnectionRefused`.
        """

    @abstractmethod
    async def probe(self) -> None:
        """Open a connection beside the present one, wait for its first message, and close it. Raises as :meth:`run`."""

    @abstractmethod
    def apply_selection(self) -> None:
        """Bring an open connection in line with the selection."""

    @abstractmethod
    def request_snapshot(self, store: StoreDriver) -> None:
        """Bring a snapshot to one store while the stream goes on; on failure call its ``snapshot_failed``."""

    def can_carry(self, selection: Selection) -> bool:
        """Whether a connection can carry this selection."""
        return self.limits.allow(selection.weight)

    def is_waiting_for(self, selection: Selection) -> bool:
        """Whether the server is to send something for this selection at once."""
        return True

    def snapshot_receiver(self, message: Mapping[str, Any]) -> tuple[bool, StoreDriver | None]:
        """Whether a snapshot answers :meth:`request_snapshot`, and of which store."""
        return False, None

    def opened(self) -> None:  # noqa: B027  optional
        """The connection is open."""

    def disconnected(self, error: FlagentError, is_final: bool) -> None:  # noqa: B027  optional
        """The connection ended. Idempotent. *is_final*: the client does not connect again."""

    async def release(self) -> None:  # noqa: B027  optional
        """Release what is kept between connections."""
