"""The manual's page of log lines lists every action in the code, with its levels."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]

_LEVELS = {"debug": "DEBUG", "info": "INFO", "warning": "WARNING", "error": "ERROR", "exception": "ERROR"}


def log_calls() -> Iterator[tuple[str, ast.Call]]:
    """Every call of a logger, with its file and line."""
    for room in ("cdc", "api", "sql"):
        for file in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr in _LEVELS
                    and isinstance(node.func.value, ast.Name)
                    and node.func.value.id == "logger"
                ):
                    yield f"{file.relative_to(ROOT)}:{node.lineno}", node


def action_of(call: ast.Call) -> str | None:
    for keyword in call.keywords:
        if keyword.arg == "extra" and isinstance(keyword.value, ast.Dict):
            for key, value in zip(keyword.value.keys, keyword.value.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "action" and isinstance(value, ast.Constant):
                    return str(value.value)
    return None


def test_every_log_line_has_an_action() -> None:
    places = [place for place, call in log_calls() if action_of(call) is None]
    assert places == []


def test_every_action_is_in_the_manual_with_its_levels() -> None:
    used: dict[str, set[str]] = {}
    for _, call in log_calls():
        assert isinstance(call.func, ast.Attribute)
        used.setdefault(action_of(call) or "", set()).add(_LEVELS[call.func.attr])
    text = (ROOT / "docs/reference/log.md").read_text(encoding="utf-8")
    listed = {
        found["action"]: set(found["levels"].split(", "))
        for found in re.finditer(r"^\| `(?P<action>\w+)` \| (?P<levels>[A-Z, ]+) \|", text, re.MULTILINE)
    }
    assert len(used) > 20
    assert listed == used
