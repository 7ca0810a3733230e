"""The connection that listens: what arrives together is received together, and a break is noticed at once."""

import asyncio

import psycopg
import pytest

from cdc.errors import DatabaseUnavailable
from cdc.postgres.notification_socket import NotificationSocket
from tests.fixtures.flags import Writer
from tests.fixtures.server import until


async def test_payloads_of_its_channel_are_received_in_order(database_url: str) -> None:
    received: list[list[str]] = []
    socket = await NotificationSocket.connect(database_url)
    await socket.listen("ours", received.append)
    with Writer(database_url) as writer:
        writer.run("notify other, 'x'", "notify ours, 'a'", "notify ours, 'b'")
        await until(
            lambda: [payload for payloads in received for payload in payloads] == ["a", "b"], "the notifications"
        )
        assert [payloads for payloads in received if payloads] == [["a", "b"]]
        assert not socket.lost.done()
    await socket.close()


async def test_a_connection_that_breaks_is_lost_at_once(database_url: str) -> None:
    socket = await NotificationSocket.connect(database_url)
    await socket.listen("ours", lambda _: None)
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where application_name = 'flagent-cdc listener' and datname = current_database()"
        )
    await asyncio.wait_for(asyncio.wait([socket.lost]), 10)
    assert isinstance(socket.lost.exception(), DatabaseUnavailable)
    # Only the first failure counts.
    socket.fail(ValueError("later"))
    assert isinstance(socket.lost.exception(), DatabaseUnavailable)
    await socket.close()


async def test_it_can_be_made_to_fail(database_url: str) -> None:
    socket = await NotificationSocket.connect(database_url)
    await socket.listen("ours", lambda _: None)
    socket.fail(ValueError("from elsewhere"))
    with pytest.raises(ValueError, match="from elsewhere"):
        socket.lost.result()
    await socket.close()


async def test_a_shutdown_ends_it_without_a_goodbye(database_url: str) -> None:
    socket = await NotificationSocket.connect(database_url)
    await socket.listen("ours", lambda _: None)
    socket.shutdown()
    await asyncio.wait_for(asyncio.wait([socket.lost]), 10)
    assert isinstance(socket.lost.exception(), DatabaseUnavailable)
    await socket.close()
