"""Following flags and rows without HTTP."""

import asyncio
import contextlib

import psycopg
import pytest

import flagent_cdc
from cdc.core.errors import InvalidInput
from cdc.errors import DatabaseError
from tests.fixtures.flags import Writer
from tests.fixtures.server import DEADLINE_S
from tests.flagent_cdc.test_embedded import url_of


async def test_events_follow_a_snapshot_and_resume_after_an_id(database_url: str) -> None:
    with Writer(database_url) as writer:
        flag = writer.flag("checkout")
        writer.flag("other")
        last: list[flagent_cdc.Event] = []
        async with asyncio.timeout(2 * DEADLINE_S):
            following = flagent_cdc.follow(url_of(database_url), flags=["checkout"], snapshot=True)
            async with contextlib.aclosing(following) as events:
                async for event in events:
                    last.append(event)
                    if event.type == "snapshot":
                        assert [each["key"] for each in event.flags] == ["checkout"]
                        writer.flag("third")
                        writer.toggle(flag)
                    if event.type == "flag_enabled":
                        break
            assert [event.type for event in last] == ["snapshot", "flag_updated", "flag_enabled"]
            assert [(event.flag_key, (event.flag or {}).get("enabled")) for event in last[1:]] == [
                ("checkout", True)
            ] * 2
            writer.toggle(flag)
            types = []
            following = flagent_cdc.follow(url_of(database_url), flags=["checkout"], last_event_id=last[-1].id)
            async with contextlib.aclosing(following) as events:
                async for event in events:
                    types.append(event.type)
                    if len(types) == 2:
                        break
            assert types == ["flag_updated", "flag_disabled"]


async def test_rows_of_a_watched_table(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("create schema shop")
        connection.execute("create table shop.orders (id int primary key, total numeric)")
        connection.execute("select flagent_cdc.watch('shop.orders')")
        async with asyncio.timeout(DEADLINE_S):
            following = flagent_cdc.follow(
                url_of(database_url), tables=["shop.orders"], last_event_id=None, snapshot=True
            )
            async with contextlib.aclosing(following) as events:
                async for event in events:
                    if event.type == "rows_end":
                        connection.execute("insert into shop.orders values (1, 1.10)")
                    if event.type == "row_inserted":
                        break
    assert (event.data["table"], event.data["after"]["id"], event.flag_key, event.flags) == ("shop.orders", 1, None, ())


async def test_a_database_that_cannot_be_used_and_a_bad_name_are_errors_at_once(database_url: str) -> None:
    for url, names, error in (
        ("postgresql://nobody@127.0.0.1:1/x", {}, DatabaseError),
        ("mysql://h/d", {}, InvalidInput),
        (url_of(database_url), {"types": ["flag_gone"]}, InvalidInput),
        (url_of(database_url), {"tables": ["no.table"]}, InvalidInput),
    ):
        following = flagent_cdc.follow(url, **names)  # type: ignore[arg-type]
        with pytest.raises(error):
            async with asyncio.timeout(DEADLINE_S):
                await anext(following)
        await following.aclose()
