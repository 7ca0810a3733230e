"""A connection whose other end goes silent fails in time."""

import asyncio

import psycopg
import pytest

from cdc.database.connection import answering_within, connect, shutdown_socket
from cdc.errors import DatabaseError, DatabaseSilent, DatabaseUnavailable
from tests.fixtures.proxy import proxy_to


async def test_it_is_in_autocommit_and_named(database_url: str) -> None:
    connection = await connect(database_url, name="test")
    try:
        row = await (await connection.execute("select current_setting('application_name')")).fetchone()
        assert row == ("flagent-cdc test",)
        assert connection.autocommit
    finally:
        await connection.close()


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(DatabaseUnavailable, match="cannot be reached"):
        await connect("postgresql://127.0.0.1:1/nothing", name="test")


async def test_what_waits_fails_at_once_when_the_socket_is_shut_down(database_url: str) -> None:
    connection = await connect(database_url, name="test")
    waiting = asyncio.create_task(_sleep(connection))
    await asyncio.sleep(0.2)
    shutdown_socket(connection)
    with pytest.raises(psycopg.OperationalError):
        await asyncio.wait_for(waiting, 5)
    await connection.close()
    # And of one that is closed, or none, nothing is left to be shut down.
    shutdown_socket(connection)
    shutdown_socket(None)


async def _sleep(connection: psycopg.AsyncConnection[object]) -> None:
    await connection.execute("select pg_sleep(60)")


async def test_an_answer_that_does_not_come_in_time_is_silence(database_url: str) -> None:
    async with proxy_to(database_url) as proxy:
        connection = await connect(proxy.url, name="test")
        proxy.stall()
        expected = pytest.raises(DatabaseSilent, match=r"the database did not answer within 0.2 s")
        with expected, answering_within(connection, 0.2, "the database"):
            await connection.execute("select 1")
        await connection.close()


async def test_other_errors_become_ours_and_are_no_silence(database_url: str) -> None:
    connection = await connect(database_url, name="test")
    try:
        with pytest.raises(DatabaseError) as caught, answering_within(connection, 30, "the database"):
            await connection.execute("select 1/0")
        assert not isinstance(caught.value, DatabaseUnavailable)
        with answering_within(connection, 30, "the database"):
            await connection.execute("select 1")
    finally:
        await connection.close()
