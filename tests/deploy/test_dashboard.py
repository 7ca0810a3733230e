"""A real Prometheus scrapes a real server with the shipped configuration, and has data for every panel."""

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
    shutil.which("prometheus") is None, reason="no prometheus on the PATH (Debian: prometheus)"
)


@asynccontextmanager
async def prometheus(directory: Path, server: RunningServer, key: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a Prometheus that scrapes every second and keeps its files in `directory`."""
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


async def test_every_panel_of_the_dashboard_has_data(database_url: str, tmp_path: Path) -> None:
    key = create_key(database_url, "prometheus", Grant(admin=True))
    async with (
        serving(database_url, auth_enabled=True) as server,
        prometheus(tmp_path, server, key) as client,
        sse(server.stream_url, x_api_key=key) as stream,
    ):
        with Writer(database_url) as writer:
            writer.flag("one")
            await stream.next()
            async with httpx.AsyncClient(headers={"x-api-key": key}) as http:
                assert (await http.get(server.stream_url + "?type=nothing")).status_code == 400
            pending = set(queries())

            async def have_data() -> bool:
                for query in list(pending):
                    try:
                        response = await client.get("/api/v1/query", params={"query": query})
                    except httpx.TransportError:
                        return False  # It is starting.
                    if response.status_code == 503:
                        return False  # It listens, but is still loading its data.
                    result = response.json()
                    assert result["status"] == "success", (query, result)
                    if result["data"]["result"]:
                        pending.discard(query)
                return not pending

            try:
                await until(have_data, "a result of every query", 40)
            except AssertionError as error:
                raise AssertionError(f"no result of {sorted(pending)}") from error
