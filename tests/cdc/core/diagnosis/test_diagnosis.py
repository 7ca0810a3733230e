"""The diagnosis as a whole: facts that no test can produce, such as another machine or an old server."""

import ast
import re
from pathlib import Path

from cdc.core.diagnosis import State, exit_code

from .examples import of_database, of_machine, of_server

ROOT = Path(__file__).parents[4]


def test_a_healthy_set_up_is_ok() -> None:
    findings = [*of_database(), *of_server(), *of_machine()]
    assert {finding.state for finding in findings} == {State.OK}
    assert exit_code(findings) == 0


def test_the_manual_lists_every_check() -> None:
    manual = (ROOT / "docs/how-to/find-what-is-wrong.md").read_text(encoding="utf-8")
    listed = {name for line in manual.split("\n") if line.startswith("| `") for name in re.findall(r"`(\w+)`", line)}
    used: set[str] = set()
    for module in (*(ROOT / "cdc/core/diagnosis").glob("*.py"), ROOT / "cdc/cli/doctor.py"):
        for call in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or not call.args:
                continue
            first = call.args[0]
            makes_finding = call.func.id in ("ok", "note", "error", "unchecked", "Finding")
            if makes_finding and isinstance(first, ast.Constant):
                used.add(str(first.value))
    assert len(used) > 40
    assert used - {"a", "b"} <= listed
