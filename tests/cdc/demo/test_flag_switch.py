"""The switch of the demo's page, on a real database."""

import psycopg

from cdc.demo.flag_switch import FlagSwitch


async def test_a_live_flag_is_switched_in_its_schema_and_no_other(flagent_url: str) -> None:
    with psycopg.connect(flagent_url, autocommit=True) as connection:
        for key, deleted in (("here", None), ("gone", "2026-11-23")):
            connection.execute(
                "insert into flags (key, description, created_at, deleted_at) values (%s, '', now(), %s)",
                (key, deleted),
            )
        switch = FlagSwitch(flagent_url, "public")
        assert await switch.set_enabled("here", enabled=True)
        assert not await switch.set_enabled("gone", enabled=True)
        assert not await switch.set_enabled("nowhere", enabled=True)
        assert connection.execute("select key from flags where enabled").fetchall() == [("here",)]
        assert await switch.set_enabled("here", enabled=False)
        assert connection.execute("select key from flags where enabled").fetchall() == []
        assert connection.execute("create schema other").rowcount == -1
        connection.execute("create table other.flags (like flags including all)")
        assert not await FlagSwitch(flagent_url, "other").set_enabled("here", enabled=True)
