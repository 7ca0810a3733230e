"""What runs the parts of `sh run test` beside each other says and does what they do."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.fixtures.server import until

LANES = Path(__file__).with_name("lanes.py")


def started(*commands: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, LANES, *commands], stdout=subprocess.PIPE, text=True)


def test_the_first_lane_is_told_first_whichever_ends_first(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    lanes = started(f"sh -c 'echo one; cat {gate}; echo two'", f"sh -c 'echo three; echo four >&2; echo > {gate}'")
    said, _ = lanes.communicate(timeout=20)
    assert said.split() == ["one", "two", "three", "four"]
    assert lanes.returncode == 0


def test_one_failure_is_the_failure_of_all_and_cuts_none_short(tmp_path: Path) -> None:
    for commands in (("sh -c 'exit 3'", "sh -c 'echo done'"), ("sh -c 'echo done'", "sh -c 'exit 3'")):
        lanes = started(*commands)
        said, _ = lanes.communicate(timeout=20)
        assert (lanes.returncode, said) == (3, "done\n")


async def test_what_ends_it_ends_all_that_it_started(tmp_path: Path) -> None:
    first, other = tmp_path / "first", tmp_path / "other"
    # The other one as `sh run` is: a shell that waits for those who do the work.
    lanes = started(
        f"sh -c 'echo $$ > {first}; exec sleep 100'", f"sh -c 'sleep 100 & echo $! > {other}; wait; echo never'"
    )
    await until(lambda: all(file.exists() and file.read_text().strip() for file in (first, other)), "both lanes' start")
    lanes.send_signal(signal.SIGTERM)
    said, _ = lanes.communicate(timeout=20)
    assert (lanes.returncode, said) == (128 + signal.SIGTERM, "")
    started_by_them = [int(file.read_text()) for file in (first, other)]
    await until(lambda: not any(map(is_running, started_by_them)), "the end of both")


def is_running(pid: int) -> bool:
    """Whether it runs; one that has ended and whose parent has not looked yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
