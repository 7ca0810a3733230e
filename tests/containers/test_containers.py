"""The image, built and run: `sh run containers` builds it and then runs these tests; otherwise they are skipped."""

import contextlib
import json
import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest
import yaml

from cdc.cli.torture.port import lasting_port
from tests.fixtures.program import running

ROOT = Path(__file__).parents[2]
IMAGE = os.environ.get("FLAGENT_CDC_TEST_IMAGE", "")

pytestmark = [
    pytest.mark.skipif(not IMAGE, reason="no image was built; sh run containers builds one"),
    pytest.mark.timeout(240),
]

_HARDENED = ("--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges")


def podman(*arguments: str, check: bool = True) -> str:
    done = subprocess.run(["podman", *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@contextmanager
def container(*arguments: str) -> Iterator[str]:
    """A container that runs in the background until the end of the block; its name."""
    name = f"flagent-cdc-{uuid.uuid4().hex[:12]}"
    podman("run", "--detach", f"--name={name}", *arguments)
    try:
        yield name
    finally:
        podman("rm", "--force", "--time=0", "--volumes", name, check=False)


def until_ready(name: str, port: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                return
        assert podman("inspect", "--format={{.State.Running}}", name) == "true", podman("logs", name)
        time.sleep(0.1)
    raise AssertionError(podman("logs", name))


def test_the_demo_runs_without_a_database_as_an_ordinary_user_with_a_read_only_root() -> None:
    port = lasting_port()
    with container(*_HARDENED, f"--publish=127.0.0.1:{port}:8080", IMAGE, "demo", "--interval=100ms") as name:
        until_ready(name, port)
        assert podman("exec", name, "id", "-u") == "10001"
        assert subprocess.run(["podman", "exec", name, "touch", "/here"], capture_output=True, check=False).returncode
        with running("tail", f"http://127.0.0.1:{port}", "--count", "3") as tail:
            assert tail.process.communicate(timeout=60)[0].count("\n") >= 3
        answer = httpx.put(f"http://127.0.0.1:{port}/api/v1/demo/flags/ops.read_only", json={"enabled": True})
        assert answer.status_code == 200
        podman("healthcheck", "run", name)


def test_serve_without_a_database_keeps_its_data_in_a_volume() -> None:
    port, volume = lasting_port(), f"flagent-cdc-{uuid.uuid4().hex[:12]}"
    arguments = (
        *_HARDENED, "--network=host", f"--env=FLAGENT_WS_PORT={port}", "--env=FLAGENT_CDC_HOST=127.0.0.1",
        f"--volume={volume}:/var/lib/flagent-cdc", IMAGE,
    )  # fmt: skip
    try:
        for expected in ([], ["kept"]):
            with container(*arguments) as name:
                until_ready(name, port)
                assert [each["key"] for each in httpx.get(f"http://127.0.0.1:{port}/api/v1/flags").json()] == expected
                logged = podman("logs", name)
                url = next(line for line in logged.splitlines() if " connect " in line).split()[-1]
                with psycopg.connect(url) as connection:
                    row = "insert into flags (key, description, created_at) values ('kept', '', now())"
                    connection.execute(f"{row} on conflict do nothing")
                began = time.monotonic()
                podman("stop", "--time=20", name)
                assert podman("inspect", "--format={{.State.ExitCode}}", name) == "0"
                assert time.monotonic() - began < 15
    finally:
        podman("volume", "rm", "--force", volume, check=False)


def test_it_requires_credentials_where_others_can_reach_it() -> None:
    done = subprocess.run(["podman", "run", "--rm", IMAGE, "serve"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "authentication is off" in done.stderr


def test_no_build_tool_and_no_secret_is_in_it_and_it_is_small() -> None:
    program = (
        "for tool in gcc cc make git pip pip3 npm; do command -v $tool; done; "
        "python -c 'import pip' 2>/dev/null && echo pip; python -c 'import setuptools' 2>/dev/null && echo setuptools; "
        "ls -d /source /root/.cache /root/.netrc 2>/dev/null; "
        # An empty file stays where a build mounted the machine's own.
        "[ ! -s /etc/pip.conf ] || echo pip.conf"
    )
    assert podman("run", "--rm", "--entrypoint=sh", IMAGE, "-c", program) == ""
    (config,) = json.loads(podman("image", "inspect", IMAGE))
    assert not [name for name in config["Config"]["Env"] if "PASSWORD" in name or "TOKEN" in name or "PIP" in name]
    assert config["Config"]["User"] == "10001"
    base = json.loads(podman("image", "inspect", "docker.io/library/python:3.13-slim-bookworm"))[0]["Size"]
    assert config["Size"] - base < 250_000_000


def test_the_services_of_the_compose_file_lead_to_a_live_change() -> None:
    services = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text(encoding="utf-8"))["services"]
    network, port = f"flagent-cdc-{uuid.uuid4().hex[:12]}", lasting_port()

    def arguments(name: str) -> list[str]:
        service = services[name]
        flags = [f"--network={network}", f"--network-alias={name}"]
        flags += [f"--env={key}={value}" for key, value in service.get("environment", {}).items()]
        mounts = [each for each in service.get("volumes", ()) if each.startswith(".")]
        flags += [f"--volume={(ROOT / 'deploy' / mount).resolve()}" for mount in (m.split(":", 1)[0] for m in mounts)]
        flags = [f"{flag}:{mounts[0].split(':', 1)[1]}" if flag.startswith("--volume=") else flag for flag in flags]
        if service.get("read_only"):
            flags += _HARDENED
        return [*flags, IMAGE if name != "postgres" else service["image"], *service.get("command", ())]

    podman("network", "create", network)
    try:
        with container(*arguments("postgres")) as database:
            check = [*services["postgres"]["healthcheck"]["test"][1:]]
            deadline = time.monotonic() + 90
            while subprocess.run(["podman", "exec", database, *check], capture_output=True, check=False).returncode:
                assert time.monotonic() < deadline, podman("logs", database)
                time.sleep(0.2)
            assert "schema public: attached" in podman("run", "--rm", *arguments("migrate"))
            with container(f"--publish=127.0.0.1:{port}:8080", *arguments("flagent-cdc")) as server:
                until_ready(server, port)
                with running("tail", f"http://127.0.0.1:{port}", "--count", "1") as tail:
                    tail.line_with("connected to")
                    change = "insert into flags (key, description, created_at) values ('live', '', now())"
                    secret = services["postgres"]["environment"]["POSTGRES_PASSWORD"]
                    connect = ["psql", "-h", "127.0.0.1", "-U", "flagent", "flagent", "-c", change]
                    podman("exec", f"--env=PGPASSWORD={secret}", database, *connect)
                    assert "live" in tail.line_with("flag_created")
                    assert tail.process.wait(timeout=30) == 0
    finally:
        podman("network", "rm", "--force", network, check=False)
