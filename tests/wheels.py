"""Lists for which platforms each pinned package has a wheel, as requirements/wheels.txt: `tests/wheels.py PYLOCK ...`.

`sh run lock` runs it on what the resolver knows of the index. A platform counts if every Python that the project
supports has a wheel there; needs no package but Python's own.
"""

import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

__all__ = ["PLATFORMS", "main", "platforms"]

PLATFORMS = {
    "linux-amd64": r"manylinux.*_x86_64",
    "linux-arm64": r"manylinux.*_aarch64",
    "musl-amd64": r"musllinux.*_x86_64",
    "musl-arm64": r"musllinux.*_aarch64",
    "macos-amd64": r"macosx_.*_(x86_64|universal2)",
    "macos-arm64": r"macosx_.*_(arm64|universal2)",
    "windows-amd64": r"win_amd64",
}

# Debian 12's glibc is 2.36, which most systems in use have or exceed.
_NEWEST_GLIBC = 36

_HEAD = """# By `sh run lock`: the platforms for which each pinned package has a wheel, on every supported Python.
# "any": for all. "source": none; it is built when it is installed.
"""


def main(files: Iterable[str]) -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = (re.search(r":: 3\.(\d+)$", each) for each in project["classifiers"])
    minors = [int(match[1]) for match in found if match]
    lines = {
        f"{package['name']}=={package['version']} {' '.join(platforms(_names(package), minors)) or 'source'}"
        for file in files
        for package in tomllib.loads(Path(file).read_text(encoding="utf-8"))["packages"]
    }
    print(_HEAD, *sorted(lines), sep="\n")


def platforms(wheels: Iterable[str], minors: Iterable[int]) -> list[str]:
    """The platforms on which each of these versions of Python, `3.minor`, can install one of the wheels."""
    tags = [wheel.removesuffix(".whl").split("-")[-3:] for wheel in wheels]
    fitting = [
        {platform for python, abi, each in tags if _fits(python, abi, minor) for platform in each.split(".")}
        for minor in minors
    ]
    if all("any" in names for names in fitting):
        return ["any"]
    return [
        platform
        for platform, pattern in PLATFORMS.items()
        if all(any(name == "any" or _installs(name, pattern) for name in names) for names in fitting)
    ]


def _names(package: dict[str, list[dict[str, str]]]) -> list[str]:
    """The file names of a package's wheels, without the address that an index adds."""
    return [wheel.get("name") or wheel["url"].rpartition("/")[2] for wheel in package.get("wheels", ())]


def _installs(name: str, pattern: str) -> bool:
    glibc = re.match(r"manylinux_2_(\d+)_", name)
    return re.fullmatch(pattern, name) is not None and (glibc is None or int(glibc[1]) <= _NEWEST_GLIBC)


def _fits(python: str, abi: str, minor: int) -> bool:
    for each in python.split("."):
        match = re.fullmatch(r"(py|cp)3(\d*)", each)
        if match is None:
            continue
        oldest = int(match[2] or 0)
        if abi == "abi3" or (abi == "none" and match[1] == "py"):
            if oldest <= minor:
                return True
        elif oldest == minor and abi in ("none", each):
            return True
    return False


if __name__ == "__main__":
    main(sys.argv[1:])
