"""Abusive clients: they end by themselves, and the server answers others as before."""

import random
from pathlib import Path

import httpx2

from cdc.cli.torture.abuse import abuse
from tests.fixtures.server import ServerProcess


async def test_whatever_they_do_the_server_answers_others(database_url: str, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    server = ServerProcess(database_url, log=log)
    server.start()
    try:
        await server.ready(60)
        async with httpx2.AsyncClient() as client:
            for seed in range(4):
                await abuse(int(server.url.rsplit(":", 1)[1]), random.Random(seed))
                assert (await client.get(f"{server.url}/api/v1/flags")).status_code == 200
    finally:
        server.kill()
    assert "Traceback" not in log.read_text()


async def test_a_server_that_is_down_is_no_failure() -> None:
    await abuse(1, random.Random(0))
