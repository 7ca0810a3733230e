"""The walk of one change in CONTRIBUTING goes through files that exist, by the definitions that it names."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SECTION = re.compile(r"^## The path of a change\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
STEP = re.compile(r"^\d+\. `(?P<path>[\w/.]+)` — `(?P<name>[\w.]+)`", re.MULTILINE)


def steps() -> list[tuple[str, str]]:
    section = SECTION.search((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    assert section is not None
    found = list(STEP.finditer(section[1]))
    return [(step["path"], step["name"]) for step in found]


def definitions(path: Path) -> set[str]:
    """The names that a file defines: functions of SQL; classes, functions, and methods as `Class.method`, of Python."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".sql":
        return set(
            re.findall(
                r"^create (?:or replace )?(?:function|trigger|constraint trigger) (?:flagent_cdc\.)?(\w+)",
                text,
                re.MULTILINE,
            )
        )
    names: set[str] = set()
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {
                f"{node.name}.{each.name}"
                for each in node.body
                if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
            }
    return names


def test_the_walk_begins_at_the_trigger_and_ends_at_the_connection() -> None:
    paths = [path for path, _ in steps()]
    assert len(paths) > 8
    assert paths[0].startswith("sql/objects/")
    assert paths[-1].startswith("api/streams/")


@pytest.mark.parametrize(("path", "name"), steps())
def test_a_step_of_the_walk_is_in_the_code(path: str, name: str) -> None:
    assert name in definitions(ROOT / path)
