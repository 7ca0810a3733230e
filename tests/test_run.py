"""The script `run` of a checkout: one failing suite does not hide the others, and the log ends with a summary."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose environment is complete and whose every program is `true`, but for those made to fail."""
    programs = tmp_path / ".venv/bin"
    programs.mkdir(parents=True)
    for name in ("run", "pyproject.toml"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    for folder in ("requirements", "sdk/python", "sdk/javascript", "sdk/kotlin", "sdk/go", "tests"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("run", "test"):
        (tmp_path / f"requirements/{name}.txt").write_text("")
    (tmp_path / "tests/parallel.py").write_text("")
    # It runs what tests/parallel.py would, one after the other.
    python = """#!/bin/sh
case "$*" in *parallel.py*)
    shift
    for each in "$@"; do $each || code=1; done
    exit ${code:-0} ;;
esac
"""
    (programs / "python").write_text(python)
    for name in ("ruff", "mypy", "lint-imports", "flagent-cdc"):
        (programs / name).write_text("#!/bin/sh\n")
    for sdk in ("javascript", "kotlin", "go"):
        (tmp_path / f"sdk/{sdk}/ci").write_text("exit 0\n")
    for program in programs.iterdir():
        program.chmod(0o755)
    return tmp_path


def environment(checkout: Path) -> dict[str, str]:
    # Programs of the build tools, which do nothing.
    tools = checkout / "tools"
    tools.mkdir(exist_ok=True)
    for name in ("npm", "mvn", "go", "python3.13"):
        (tools / name).write_text("#!/bin/sh\n")
        (tools / name).chmod(0o755)
    return {"PATH": f"{tools}:/usr/bin:/bin", "HOME": str(checkout), "LC_ALL": os.environ.get("LC_ALL", "C.UTF-8")}


def complete_run(checkout: Path) -> subprocess.CompletedProcess[str]:
    # What the set-up of the environment would have made.
    checksums = {
        "made": f"{checkout} {_cksum(checkout, 'requirements/run.txt', 'requirements/test.txt')}",
        "test": _cksum(checkout, "requirements/test.txt"),
        "project": _cksum(checkout, "pyproject.toml"),
    }
    for name, text in checksums.items():
        (checkout / f".venv/.{name}").write_text(text + "\n")
    return subprocess.run(
        ["sh", "run", "test"], cwd=checkout, env=environment(checkout), capture_output=True, text=True, check=False
    )


def _cksum(checkout: Path, *names: str) -> str:
    text = "".join((checkout / name).read_text() for name in names)
    return subprocess.run(["cksum"], input=text, capture_output=True, text=True, check=True).stdout.strip()


def test_the_log_ends_with_a_summary_of_all_suites(checkout: Path) -> None:
    done = complete_run(checkout)
    assert done.returncode == 0, done.stderr
    results, end = summary(done.stdout)
    assert results.keys() >= {"ruff check", "mypy", "documentation", "Go SDK"}
    assert set(results.values()) <= {"passed", "skipped"}
    assert ", 0 failed, " in end


def test_after_a_failed_suite_the_others_run_and_the_exit_status_tells(checkout: Path) -> None:
    (checkout / ".venv/bin/mypy").write_text("#!/bin/sh\nexit 1\n")
    (checkout / "sdk/kotlin/ci").write_text("echo 'failed: ATest: it holds: no' >>\"$RUN_SUMMARY\"\nexit 1\n")
    done = complete_run(checkout)
    assert done.returncode == 1
    results, end = summary(done.stdout)
    # The Python SDK is checked by mypy, too.
    failed = {title for title, result in results.items() if result == "FAILED"}
    assert failed == {"mypy", "Kotlin SDK", "Python SDK"}
    assert results["Go SDK"] == results["import rules"] == "passed"
    assert ", 3 failed, " in end
    # The end of a long log is what is kept, so it names the failed tests.
    assert "\nfailed: ATest: it holds: no\n" in done.stdout.partition("==> summary of all suites")[2]


def summary(output: str) -> tuple[dict[str, str], str]:
    """The result of each suite, and the last line."""
    lines = output.splitlines()
    *suites, end = lines[lines.index("==> summary of all suites") + 1 :]
    return {line.split(" s  ")[1]: line.split()[0] for line in suites if " s  " in line}, end
