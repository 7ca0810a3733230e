"""Runs the tests on every supported PostgreSQL and Python, and writes the result into the documentation.

    python -m tests.matrix [NAME ...]

Names are `postgres-14`, `python-3.12`, `lowest`; without one, all run. Each writes its output to
`build/matrix/NAME.log`, and its row with the date to `docs/reference/compatibility.md`. The exit code is not 0 if any
fails.
"""

import datetime
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.matrix.interpreters import interpreter
from tests.matrix.servers import fetch, servers

ROOT = Path(__file__).parents[2]
LOGS = ROOT / "build" / "matrix"
PAGE = ROOT / "docs" / "reference" / "compatibility.md"
TABLE = re.compile(r"(?<=<!-- matrix -->\n).*?(?=<!-- end of matrix -->)", re.DOTALL)

PYTHONS = ("3.11", "3.12", "3.13", "3.14")

# Pure logic, the settings and the command line: what a version of Python or of a package could break.
CORE = ("tests/cdc/core", "tests/cdc/settings", "tests/cdc/auth", "tests/cdc/cli/test_command.py", "tests/api/http")

# For the tests of one row; a machine with nothing else to do needs a tenth of it.
LIMIT_S = 3600


@dataclass(frozen=True, slots=True)
class Result:
    name: str
    tested: str
    outcome: str
    seconds: float

    @property
    def is_failure(self) -> bool:
        return self.outcome.startswith("FAILED")


def main(wanted: list[str]) -> int:
    LOGS.mkdir(parents=True, exist_ok=True)
    checks = dict(_checks())
    if unknown := set(wanted) - checks.keys():
        print(f"matrix: {', '.join(unknown)}: choose from {', '.join(checks)}", file=sys.stderr)
        return 2
    has_failed = False
    for name in wanted or checks:
        began = time.monotonic()
        tested, outcome = checks[name]()
        result = Result(name, tested, outcome, time.monotonic() - began)
        has_failed = has_failed or result.is_failure
        print(f"{name:<12} {outcome} in {result.seconds:.0f} s: {tested}", flush=True)
        day = datetime.datetime.now(datetime.UTC).date().isoformat()
        PAGE.write_text(with_result(PAGE.read_text(encoding="utf-8"), result, day, [*checks]), encoding="utf-8")
    return int(has_failed)


def with_result(page: str, result: Result, day: str, names: list[str]) -> str:
    """The page with a new row for the result; rows are in the order of `names`, those of others are dropped."""

    def renewed(found: re.Match[str]) -> str:
        rows = {row.split("|")[1].strip(): row for row in found[0].splitlines() if row.startswith("| ")}
        rows[result.name] = f"| {result.name} | {result.tested} | {result.outcome} | {day} |"
        kept = [rows[name] for name in names if name in rows]
        return "\n".join(["| on | tested | result | last run |", "|---|---|---|---|", *kept, ""])

    return TABLE.sub(renewed, page)


def _checks() -> Iterator[tuple[str, Callable[[], tuple[str, str]]]]:
    for major, version in servers().items():
        yield f"postgres-{major}", lambda major=major, version=version: _on_server(major, version)  # type: ignore[misc]
    for version in PYTHONS:
        yield f"python-{version}", lambda version=version: _on_python(version)  # type: ignore[misc]
    yield "lowest", _on_lowest


def _on_server(major: str, version: str) -> tuple[str, str]:
    """The capture, the comparison of random programs, and the upgrade from older revisions."""
    tests = ("tests/sql", "tests/cdc/admin/test_upgrade.py", "tests/cdc/admin/test_upgrade_from_0008.py")
    programs = fetch()[major]
    return f"PostgreSQL {version.partition('-')[0]}: capture, upgrade", _pytest(
        f"postgres-{major}", sys.executable, *tests, FLAGENT_CDC_TEST_POSTGRES_BIN=str(programs)
    )


def _on_python(version: str) -> tuple[str, str]:
    """Installed from the lock by hash; types, style and the core's tests."""
    what, name = f"Python {version}: install from the lock, types, core", f"python-{version}"
    python = interpreter(version)
    if python is None:
        return what, "not run: not installed"
    home = LOGS / f"venv-{version}"
    with (LOGS / f"{name}.log").open("w") as log:
        steps: list[list[str | Path]] = [
            [python, "-m", "venv", "--clear", home],
            [home / "bin/python", "-m", "pip", "install", "-q", "--require-hashes", "-r", "requirements/test.txt"],
            [home / "bin/python", "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "-e", "."],
            [home / "bin/python", "-m", "mypy", "--python-version", version, "--cache-dir", LOGS / f"mypy-{version}"],
        ]
        for command in steps:
            if subprocess.run(command, cwd=ROOT, stdout=log, stderr=log, check=False).returncode != 0:
                return what, f"FAILED: {Path(str(command[2])).name if command[1] == '-m' else command[0]}"
    return what, _pytest(name, str(home / "bin/python"), *CORE)


def _on_lowest() -> tuple[str, str]:
    """With the oldest version of each direct dependency that `pyproject.toml` allows."""
    what = "the lowest allowed version of every direct dependency: core, API, wheel's imports"
    home, pins, tools = LOGS / "venv-lowest", LOGS / "lowest.txt", LOGS / "lowest-tools.txt"
    with (LOGS / "lowest.log").open("w") as log:
        uv = [sys.executable, "-m", "uv", "--no-config", "--quiet"]
        resolve = ["pip", "compile", "pyproject.toml", "--group", "build"]
        python = home / "bin/python"
        steps: list[list[str | Path]] = [
            [*uv, *resolve, "--resolution", "lowest-direct", "--output-file", pins],
            # The tools of the tests are not what is tested: their newest versions that fit.
            [*uv, *resolve, "--group", "test", "--constraint", pins, "--output-file", tools],
            [sys.executable, "-m", "venv", "--clear", home],
            [python, "-m", "pip", "install", "-q", "-r", tools],
            [python, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "-e", "."],
            [python, "-m", "cdc", "--help"],
        ]
        for command in steps:
            if subprocess.run(command, cwd=ROOT, stdout=log, stderr=log, check=False).returncode != 0:
                return what, f"FAILED: {' '.join(map(str, command[:5]))}"
    return what, _pytest("lowest", str(python), *CORE)


def _pytest(name: str, python: str, *tests: str, **variables: str) -> str:
    command = [python, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", *tests]
    path = LOGS / f"{name}.log"
    # Written while they run, so that one can watch them.
    with path.open("a") as log:
        begin = log.tell()
        try:
            code = subprocess.run(
                command, cwd=ROOT, env={**os.environ, **variables}, stdout=log, stderr=log, timeout=LIMIT_S, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            return f"FAILED: not done within {LIMIT_S // 60} min"
    counts = re.findall(r"^=*\s*((?:\d+ \w+,? ?)+) in ", path.read_text(encoding="utf-8")[begin:], re.MULTILINE)
    end = counts[-1].strip() if counts else "no tests"
    return end if code == 0 else f"FAILED: {end}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
