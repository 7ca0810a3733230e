"""The shipped files for running the server name only settings, commands, files, ports and paths that exist."""

import asyncio
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from cdc.cli import _find
from cdc.settings.settings import variables
from tests.fixtures.server import RunningServer

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
FILES = ("Dockerfile", "compose.yaml", "systemd/flagent-cdc.service", "kubernetes/flagent-cdc.yaml")
SETTINGS = {variable.name for variable in variables().values()}
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def text_of(name: str) -> str:
    return (DEPLOY / name).read_text(encoding="utf-8")


def dockerfile() -> list[tuple[str, str]]:
    """Each instruction with its arguments."""
    joined = re.sub(r"\\\n\s*", " ", re.sub(r"^#.*\n", "", text_of("Dockerfile"), flags=re.MULTILINE))
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in joined.splitlines() if line]


def manifests() -> dict[str, Any]:
    return {one["kind"]: one for one in yaml.safe_load_all(text_of("kubernetes/flagent-cdc.yaml"))}


@pytest.mark.parametrize("name", FILES)
def test_every_named_setting_exists(name: str) -> None:
    named = set(re.findall(r"\bFLAGENT_[A-Z_]+\b", text_of(name)))
    assert named
    assert named <= SETTINGS


def test_every_named_command_exists() -> None:
    compose = yaml.safe_load(text_of("compose.yaml"))["services"]
    pod = manifests()["Deployment"]["spec"]["template"]["spec"]
    entry = dict(dockerfile())["ENTRYPOINT"]
    assert entry == '["flagent-cdc"]'
    commands = [
        dict(dockerfile())["CMD"].strip('[]"'),
        *(compose[name]["command"][0] for name in ("migrate", "flagent-cdc")),
        *(container["args"][0] for container in (*pod["initContainers"], *pod["containers"])),
        *re.findall(
            r"^ExecStart=/opt/flagent-cdc/bin/flagent-cdc (\S+)$", text_of("systemd/flagent-cdc.service"), re.M
        ),
    ]
    assert len(commands) == 6
    assert all(_find(command) for command in commands), commands


def test_the_image_copies_existing_files_and_installs_hashed_packages() -> None:
    instructions = dockerfile()
    copied = [text.split()[:-1] for kind, text in instructions if kind == "COPY" and "--from" not in text]
    sources = [source for sources in copied for source in sources]
    assert all((ROOT / source).exists() for source in sources), sources
    included = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(sources) == sorted(included)
    installs = [text for kind, text in instructions if kind == "RUN" and "pip install" in text]
    assert all("--require-hashes" in text or "--no-deps" in text for text in installs)
    assert len(installs) == 2


def test_the_image_does_not_run_as_root_and_has_a_health_check() -> None:
    instructions = dockerfile()
    final = instructions[max(place for place, (kind, _) in enumerate(instructions) if kind == "FROM") :]
    assert [text for kind, text in final if kind == "USER"] == ["10001"]
    assert any(kind == "HEALTHCHECK" for kind, _ in final)
    assert [kind for kind, _ in instructions].count("FROM") == 2
    assert manifests()["Deployment"]["spec"]["template"]["spec"]["securityContext"]["runAsUser"] == 10001


async def test_the_health_check_of_the_image_can_fail(server: RunningServer) -> None:
    check = next(text for kind, text in dockerfile() if kind == "HEALTHCHECK")
    program = re.findall(r'CMD \["python", "-c", "(.*)"\]$', check)[0]
    for port, status in ((server.url.rpartition(":")[2], 0), ("1", 1)):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, env={"FLAGENT_WS_PORT": port}, stderr=asyncio.subprocess.DEVNULL
        )
        assert await asyncio.wait_for(process.wait(), 30) == status


def test_compose_mounts_existing_files_and_waits_for_existing_services() -> None:
    services = yaml.safe_load(text_of("compose.yaml"))["services"]
    mounted = [volume.split(":")[0] for volume in services["postgres"]["volumes"] if volume.startswith(".")]
    assert mounted
    assert all((DEPLOY / path).is_file() for path in mounted)
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
    assert services["flagent-cdc"]["environment"]["FLAGENT_CDC_DATABASE_URL"].endswith("@postgres:5432/flagent")
    # Without credentials, so only on the loopback address.
    assert all(port.startswith("127.0.0.1:") for port in services["flagent-cdc"]["ports"])


async def test_the_kubernetes_objects_match(server: RunningServer) -> None:
    parts = manifests()
    deployment = parts["Deployment"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == labels
    assert parts["Service"]["spec"]["selector"] == labels
    assert parts["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert parts["PodDisruptionBudget"]["spec"]["minAvailable"] < deployment["replicas"]
    pod = deployment["template"]["spec"]
    (container,) = pod["containers"]
    assert {one["image"] for one in (*pod["initContainers"], container)} == {f"flagent-cdc:{VERSION}"}
    (port,) = container["ports"]
    assert parts["Service"]["spec"]["ports"][0]["targetPort"] == port["name"]
    async with httpx.AsyncClient() as client:
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert container[probe]["httpGet"]["port"] == port["name"]
            assert (await client.get(server.url + container[probe]["httpGet"]["path"])).status_code == 200
    for one in (*pod["initContainers"], container):
        assert one["securityContext"]["readOnlyRootFilesystem"] is True
        assert one["securityContext"]["allowPrivilegeEscalation"] is False


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on the PATH")
def test_systemd_accepts_the_unit_and_rates_it_safe(tmp_path: Path) -> None:
    unit = tmp_path / "flagent-cdc.service"
    program = Path(sys.executable).parent / "flagent-cdc"
    unit.write_text(text_of("systemd/flagent-cdc.service").replace("/opt/flagent-cdc/bin/flagent-cdc", str(program)))
    for command in (["verify", "--man=no"], ["security", "--offline=yes", "--threshold=20"]):
        done = subprocess.run(
            ["systemd-analyze", *command, str(unit)], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert unit.name not in done.stderr
