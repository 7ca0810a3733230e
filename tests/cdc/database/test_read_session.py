"""One connection that reads: opened when needed, opened again after it broke, and never waited for without end."""

import asyncio

import psycopg
import pytest

from cdc.core.log.row_text import RowText
from cdc.database.read_session import ReadSession
from cdc.errors import DatabaseError, DatabaseSilent, DatabaseUnavailable
from tests.fixtures.proxy import proxy_to


async def pid(session: ReadSession) -> int:
    return int(await session.scalar("select pg_backend_pid()"))


async def test_it_connects_when_it_is_first_used_and_keeps_the_connection(database_url: str) -> None:
    session = ReadSession("postgresql://127.0.0.1:1/nothing")
    await session.close()
    session.shutdown_socket()
    with pytest.raises(DatabaseUnavailable):
        await session.scalar("select 1")
    session = ReadSession(database_url)
    assert await pid(session) == await pid(session)
    await session.close()


async def test_a_transaction_sees_one_snapshot_and_only_reads(database_url: str) -> None:
    session = ReadSession(database_url)
    async with session.use() as connection, connection.transaction():
        row = await (await connection.execute("show transaction_isolation")).fetchone()
        assert row == ("repeatable read",)
    with pytest.raises(DatabaseUnavailable, match="read-only"):
        async with session.use() as connection, connection.transaction():
            await connection.execute("insert into tags (value, created_at) values ('t', now())")
    await session.close()


async def test_a_connection_that_the_server_has_closed_meanwhile_fails_no_question(database_url: str) -> None:
    """As after a restart of PostgreSQL, between two questions."""
    session = ReadSession(database_url)
    before = await pid(session)
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as admin:
        await admin.execute("select pg_terminate_backend(%s, 5000)", (before,))
    assert await pid(session) != before
    await session.close()


async def test_notices_that_wait_are_no_end_of_the_connection(database_url: str) -> None:
    session = ReadSession(database_url)
    async with session.use() as connection:
        await connection.execute("listen test")
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as other:
        before = await pid(session)
        for _ in range(3):
            await other.execute("notify test")
        assert await pid(session) == before
    await session.close()


async def test_after_an_error_it_connects_anew(database_url: str) -> None:
    session = ReadSession(database_url)
    first = await pid(session)
    with pytest.raises(DatabaseError):
        await session.scalar("select 1/0")
    assert await pid(session) != first
    await session.close()


async def test_after_a_cancellation_it_connects_anew(database_url: str) -> None:
    session = ReadSession(database_url)
    first = await pid(session)
    task = asyncio.create_task(session.scalar("select pg_sleep(60)"))
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await pid(session) != first
    await session.close()


async def test_what_waits_for_an_answer_fails_when_the_socket_is_shut_down(database_url: str) -> None:
    session = ReadSession(database_url)
    task = asyncio.create_task(session.scalar("select pg_sleep(60)"))
    await asyncio.sleep(0.2)
    session.shutdown_socket()
    with pytest.raises(DatabaseUnavailable):
        await asyncio.wait_for(task, 5)
    assert await session.scalar("select 1") == 1
    await session.close()


async def test_callers_take_turns(database_url: str) -> None:
    session = ReadSession(database_url)
    order: list[str] = []

    async def use(name: str, seconds: float) -> None:
        async with session.use() as connection:
            order.append(f"{name} begins")
            await connection.execute("select pg_sleep(%s)", (seconds,))
            order.append(f"{name} ends")

    await asyncio.gather(use("a", 0.05), use("b", 0.0))
    assert order == ["a begins", "a ends", "b begins", "b ends"]
    await session.close()


async def test_a_long_read_gets_more_time_after_it_was_cut_short(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdc.database.read_session._ANSWER_S", 0.3)
    session = ReadSession(database_url)

    async def read() -> None:
        async with session.read() as connection:
            await connection.execute("select pg_sleep(0.5)")

    with pytest.raises(DatabaseSilent):
        await read()
    await read()
    await session.close()


async def test_a_proxy_that_goes_silent_is_noticed(database_url: str) -> None:
    async with proxy_to(database_url) as proxy:
        session = ReadSession(proxy.url)
        assert await session.scalar("select 1") == 1
        proxy.stall()
        with pytest.raises(DatabaseSilent):
            async with session.use(0.2) as connection:
                await connection.execute("select 1")
        proxy.resume()
        assert await session.scalar("select 1") == 1
        await session.close()


async def test_json_is_read_as_asked(database_url: str) -> None:
    plain, exact = ReadSession(database_url), ReadSession(database_url, RowText.load)
    statement = """select '{"a": 1.10}'::jsonb"""
    assert await plain.scalar(statement) == {"a": 1.1}
    assert await exact.scalar(statement) == RowText('{"a": 1.10}')
    assert await plain.scalar("select 1 where false") is None
    for session in (plain, exact):
        await session.close()


async def test_notifications_that_come_here_behind_a_pooler_are_dropped(database_url: str) -> None:
    session = ReadSession(database_url)
    async with session.use() as connection:
        await connection.execute("listen stray")
    with psycopg.connect(database_url, autocommit=True) as other:
        other.execute("notify stray")
    assert await session.scalar("select 1") == 1
    await session.close()
