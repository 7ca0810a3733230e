"""schemathesis against the OpenAPI document: whatever fits it, and whatever does not, gets an answer that it promises.

Bounded and with a fixed seed; streams have no end and are left out, as their own tests cover them.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.flags import Writer
from tests.fixtures.server import ServerProcess

pytestmark = pytest.mark.timeout(120)

STREAMS = "/(realtime/sse|events/stream|v1/events)$"


async def test_schemathesis_finds_nothing(database_url: str, tmp_path: Path) -> None:
    with Writer(database_url) as writer:
        for key in ("a", "b"):
            writer.static_flag(key, "on", "off")
    server = ServerProcess(database_url, log=tmp_path / "server.log")
    server.start()
    try:
        await server.ready()
        done = subprocess.run(
            [
                Path(sys.executable).with_name("schemathesis"), "run", server.url + "/openapi.json",
                "--phases", "examples,coverage,fuzzing", "--max-examples", "15", "--seed", "1",
                "--exclude-path-regex", STREAMS, "--continue-on-failure", "--request-timeout", "10", "--no-shrink",
                "--warnings", "off",
                # A document cannot say that a text must be a time, or that one of three fields must be there.
                "--exclude-checks", "positive_data_acceptance",
            ],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
    finally:
        server.kill()
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr[-2_000:]
    assert "Traceback" not in (tmp_path / "server.log").read_text()
