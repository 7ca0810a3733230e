"""A real Prometheus scrapes a real server with the configuration that is shipped, and answers every panel."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from cdc.admin.api_keys import create_key
from cdc.cli.torture.port import lasting_port
from cdc.core.subscription.grant import Grant
from tests.deploy.test_monitoring import DEPLOY, queries
from tests.fixtures.flags import Writer
from tests.fixtures.server import RunningServer, serving, sse, until

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="no prometheus in PATH; it is in Debian's package of that name"
)


@asynccontextmanager
async def prometheus(directory: Path, server: RunningServer, key: str) -> AsyncIterator[httpx.AsyncClient]:
    """It scrapes every second; `directory` is its own."""
    key_file = directory / "flagent-cdc.key"
    key_file.write_text(key, encoding="utf-8")
    config = yaml.safe_load((DEPLOY / "prometheus" / "scrape.yml").read_text(encoding="utf-8"))
    (scrape,) = config["scrape_configs"]
    scrape["scrape_interval"] = scrape["scrape_timeout"] = "1s"
    scrape["static_configs"] = [{"targets": [server.url.removeprefix("http://")]}]
    scrape["authorization"]["credentials_file"] = str(key_file)
    file = directory / "prometheus.yml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    port = lasting_port()
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            ["prometheus", f"--config.file={file}", f"--storage.tsdb.path={directory}/data",
             f"--web.listen-address=127.0.0.1:{port}"],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            yield client
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 20)


async def test_every_panel_of_the_dashboard_gets_an_answer(database_url: str, tmp_path: Path) -> None:
    key = create_key(database_url, "prometheus", Grant(admin=True))
    async with (
        serving(database_url, auth_enabled=True) as server,
        prometheus(tmp_path, server, key) as client,
        sse(server.stream_url, x_api_key=key) as stream,
    ):
        with Writer(database_url) as writer:
            writer.flag("one")
            await stream.next()
            async with httpx.AsyncClient(headers={"x-api-key": key}) as refused:
                assert (await refused.get(server.stream_url + "?type=nothing")).status_code == 400
            open_questions = set(queries())

            async def are_answered() -> bool:
                for query in list(open_questions):
                    try:
                        response = await client.get("/api/v1/query", params={"query": query})
                    except httpx.TransportError:
                        return False  # It has not started yet.
                    if response.status_code == 503:
                        return False  # It listens, and reads what it has stored.
                    answer = response.json()
                    assert answer["status"] == "success", (query, answer)
                    if answer["data"]["result"]:
                        open_questions.discard(query)
                return not open_questions

            try:
                await until(are_answered, "an answer to every query", 40)
            except AssertionError as error:
                raise AssertionError(f"no answer to {sorted(open_questions)}") from error
