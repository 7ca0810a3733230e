"""An empty tier on a real NATS server: its JetStream stream, bucket and object store."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from cdc.jetstream.address import NatsAddress
from cdc.jetstream.connection import Connection, connect
from cdc.jetstream.layout import Layout, Limits, prepare
from tests.fixtures.nats import NatsServer
from tests.fixtures.server import until
from tests.fixtures.settings import settings_with

__all__ = ["LAYOUT", "address_of", "connected", "prepared"]

LAYOUT = Layout("flagent_cdc")


def address_of(url: str, **changes: Any) -> NatsAddress:
    return NatsAddress.of(settings_with(**changes), url, name="FLAGENT_CDC_NATS_URL")


@asynccontextmanager
async def connected(server: NatsServer) -> AsyncIterator[Connection]:
    """A connection to a server that has just been started."""
    await until(lambda: "Server is ready" in server.log(), "NATS's start")
    connection = await connect(address_of(server.url), "test")
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def prepared(server: NatsServer) -> AsyncIterator[Connection]:
    """A connection to a server with an empty tier."""
    async with connected(server) as connection:
        await prepare(connection.jetstream, LAYOUT, Limits(replicas=1, max_age_s=0.0, max_bytes=100_000_000))
        yield connection
