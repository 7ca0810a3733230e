"""The script that runs the parts of `sh run test` in parallel passes on their output, exit codes and signals."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.fixtures.server import until

SCRIPT = Path(__file__).with_name("parallel.py")


def started(*commands: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, SCRIPT, *commands], stdout=subprocess.PIPE, text=True)


def test_the_output_of_the_first_command_comes_first_whichever_ends_first(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    script = started(f"sh -c 'echo one; cat {gate}; echo two'", f"sh -c 'echo three; echo four >&2; echo > {gate}'")
    output, _ = script.communicate(timeout=60)
    assert output.split() == ["one", "two", "three", "four"]
    assert script.returncode == 0


def test_one_failure_fails_the_run_and_the_other_command_finishes(tmp_path: Path) -> None:
    for commands in (("sh -c 'exit 3'", "sh -c 'echo done'"), ("sh -c 'echo done'", "sh -c 'exit 3'")):
        script = started(*commands)
        output, _ = script.communicate(timeout=60)
        assert (script.returncode, output) == (3, "done\n")


async def test_sigterm_ends_all_commands_with_their_children(tmp_path: Path) -> None:
    first, other = tmp_path / "first", tmp_path / "other"
    # The second command is like `sh run`: a shell that waits for its children.
    script = started(
        f"sh -c 'echo $$ > {first}; exec sleep 100'", f"sh -c 'sleep 100 & echo $! > {other}; wait; echo never'"
    )
    both = (first, other)
    await until(lambda: all(file.exists() and file.read_text().strip() for file in both), "the start of both commands")
    script.send_signal(signal.SIGTERM)
    output, _ = script.communicate(timeout=60)
    assert (script.returncode, output) == (128 + signal.SIGTERM, "")
    children = [int(file.read_text()) for file in both]
    await until(lambda: not any(map(is_running, children)), "the end of both commands")


async def test_sigterm_during_the_start_leaves_no_command_behind(tmp_path: Path) -> None:
    first, other = tmp_path / "first", tmp_path / "other"
    script = started(
        f"sh -c 'echo $$ > {first}; kill -s TERM $PPID; exec sleep 100'", f"sh -c 'echo $$ > {other}; exec sleep 100'"
    )
    script.communicate(timeout=60)
    assert script.returncode == 128 + signal.SIGTERM
    children = [int(file.read_text()) for file in (first, other) if file.exists() and file.read_text()]
    assert children
    await until(lambda: not any(map(is_running, children)), "the end of the commands")


def is_running(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
