"""One connection to NATS, and the edge at which its errors become ours.

The driver never reconnects: it would send what it had buffered later, for a relay that may have been superseded long
ago. A connection that breaks is given up, and its user starts again from what the JetStream stream holds.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import nats
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js.client import JetStreamContext

from ..errors import NatsError, NatsRefused, NatsUnavailable, Superseded
from .address import NatsAddress

__all__ = ["Connection", "Link", "nats_errors"]

_CONNECT_S = 3.0
_ANSWER_S = 3.0
_CLOSE_S = 1.0

# A dead link is noticed after about this many seconds times two.
_PING_S = 2

# JSStreamWrongLastSequence, …Constant. Source: nats-server, server/errors.json
_WRONG_LAST_SEQUENCE = (10071, 10164)

# JSClusterNoPeers: a cluster that is still coming together.
_NO_PEERS = 10005


@contextmanager
def nats_errors(target: str) -> Iterator[None]:
    """Raise our errors instead of the driver's, with the cause kept; for `with` around every use of it."""
    try:
        yield
    except nats.js.errors.APIError as error:
        raise _translate_api(error, target) from error
    except (nats.errors.Error, OSError, TimeoutError) as error:
        text = str(error).removeprefix("nats: ").strip("'") or type(error).__name__
        if isinstance(error, nats.errors.AuthorizationError) or "uthorization" in text or "ermission" in text:
            raise NatsRefused(f"{target} refuses the login, or this operation to it: {text}") from error
        raise NatsUnavailable(f"{target} cannot be reached, or did not answer in time: {text}") from error


def _translate_api(error: nats.js.errors.APIError, target: str) -> NatsError:
    # Those of the key-value bucket have no code.
    err_code = getattr(error, "err_code", None)
    if isinstance(error, nats.js.errors.KeyWrongLastSequenceError) or err_code in _WRONG_LAST_SEQUENCE:
        return Superseded(f"{target}: another relay has written there")
    code = getattr(error, "code", None)
    text = getattr(error, "description", None) or type(error).__name__
    if code is None or code >= 500 or err_code == _NO_PEERS:
        return NatsUnavailable(f"{target}: JetStream is not available: {text}")
    return NatsError(f"{target} says: {text}")


class Connection:
    """An open connection; `lost` is done as soon as it is gone."""

    def __init__(self, client: Client, lost: asyncio.Future[None]) -> None:
        self.client = client
        self.lost = lost
        self.jetstream: JetStreamContext = client.jetstream(timeout=_ANSWER_S)

    @property
    def max_payload(self) -> int:
        """Most bytes of headers and data together that this server takes in one message."""
        return int(self.client.max_payload)

    async def close(self) -> None:
        if not self.lost.done():
            self.lost.set_result(None)
        await _close(self.client)


async def connect(address: NatsAddress, name: str) -> Connection:
    """Connect to any of the servers; raises the error of the last one that was tried."""
    failure: NatsError = NatsUnavailable(f"{address} cannot be reached")
    for server in random.sample(address.servers, len(address.servers)):
        try:
            return await _connect_to(address, server, name)
        except NatsError as error:
            failure = error
    raise failure


async def _connect_to(address: NatsAddress, server: str, name: str) -> Connection:
    client = Client()
    lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    met: list[Exception] = []

    async def on_error(error: Exception) -> None:
        met.append(error)

    async def on_gone() -> None:
        if not lost.done():
            lost.set_result(None)

    options: dict[str, Any] = {
        "user": address.user,
        "password": address.password,
        "token": address.token,
        "tls": address.tls(),
        "user_credentials": None if address.credentials is None else str(address.credentials),
        "nkeys_seed": None if address.nkey is None else str(address.nkey),
    }
    target = str(address)
    try:
        with nats_errors(target):
            async with asyncio.timeout(_CONNECT_S):
                await client.connect(
                    [server],
                    name=f"flagent-cdc {name}",
                    error_cb=on_error,
                    disconnected_cb=on_gone,
                    closed_cb=on_gone,
                    allow_reconnect=False,
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    connect_timeout=int(_CONNECT_S),
                    ping_interval=_PING_S,
                    max_outstanding_pings=1,
                    **{option: value for option, value in options.items() if value is not None},
                )
    except BaseException as error:
        await _close(client)
        if isinstance(error, NatsUnavailable) and met:
            # The driver goes on to "no servers" and forgets why.
            with nats_errors(target):
                raise met[-1] from error
        raise
    return Connection(client, lost)


async def _close(client: Client) -> None:
    # After a failed TLS handshake, asyncio waits for an end that never comes.
    with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
        async with asyncio.timeout(_CLOSE_S):
            await client.close()


class Link:
    """A connection for questions: opened when first needed, and again after it broke."""

    def __init__(self, address: NatsAddress, name: str) -> None:
        self.address = address
        self._name = name
        self._lock = asyncio.Lock()
        self._connection: Connection | None = None

    @asynccontextmanager
    async def use(self) -> AsyncIterator[JetStreamContext]:
        """For `with` around questions; what the driver raises becomes a `NatsError`."""
        connection = await self._opened()
        with nats_errors(str(self.address)):
            yield connection.jetstream

    @asynccontextmanager
    async def use_client(self) -> AsyncIterator[Client]:
        """The same for requests to other clients, beside JetStream."""
        connection = await self._opened()
        with nats_errors(str(self.address)):
            yield connection.client

    async def _opened(self) -> Connection:
        async with self._lock:
            if self._connection is None or self._connection.lost.done():
                self._connection = await connect(self.address, self._name)
            return self._connection

    def shutdown_socket(self) -> None:
        """Make every call that waits for an answer fail soon."""
        connection, self._connection = self._connection, None
        if connection is not None and connection.client._transport is not None:
            connection.client._transport.close()  # type: ignore[no-untyped-call]

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
