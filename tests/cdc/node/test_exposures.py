"""When counts of exposures are written, and which are pruned."""

import asyncio

import httpx
import psycopg
import pytest

from cdc.core.log.position import Position
from tests.fixtures.flags import Writer
from tests.fixtures.server import DEADLINE_S, serving

PATH = "/api/v1/exposures"
ONE = {"exposures": [{"flagKey": "a", "variantKey": "on", "count": 1}]}


async def test_counts_are_written_at_intervals_and_at_the_end_and_old_ones_pruned(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdc.node.exposures.WRITE_INTERVAL_S", 0.05)

    def written() -> int:
        with psycopg.connect(database_url) as connection:
            return int(connection.execute("select coalesce(sum(count), 0) from flagent_cdc.exposure").fetchone()[0])  # type: ignore[index]

    with Writer(database_url) as writer:
        writer.flag("a")
        async with serving(database_url, exposures_enabled=True, exposures_retention_s=86400.0) as server:
            writer.run(
                "insert into flagent_cdc.exposure values (now() - interval '2 days', 'public', 'a', 'on', 100),"
                " (now() - interval '23 hours', 'public', 'a', 'on', 10)"
            )
            async with httpx.AsyncClient(base_url=server.url, timeout=DEADLINE_S) as client:
                assert await server.pipeline.hub.reached(Position(1), DEADLINE_S)
                await client.post(PATH, json=ONE)
                async with asyncio.timeout(DEADLINE_S):
                    while written() != 11:
                        await asyncio.sleep(0.01)
                monkeypatch.setattr("cdc.node.exposures.WRITE_INTERVAL_S", 60.0)
                await asyncio.sleep(0.1)
                await client.post(PATH, json=ONE)
        assert written() == 12
