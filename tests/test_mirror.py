"""The tree of tests mirrors the tree of the source: each module has a test module of its name, or a reason why not."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

WITHOUT: dict[str, str] = {}
"""Modules without a test module of their name, and the reason: only data, or tested as part of what is named."""

MODULES = sorted(
    str(file.relative_to(ROOT).with_suffix(""))
    for room in ("cdc", "api")
    for file in (ROOT / room).rglob("*.py")
    if file.name not in ("__init__.py", "__main__.py")
)


def mirror_of(module: str) -> Path:
    folder, _, name = module.rpartition("/")
    return ROOT / "tests" / folder / f"test_{name}.py"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_a_test_module_of_its_name_or_a_reason_why_not(module: str) -> None:
    assert mirror_of(module).is_file() != (module in WITHOUT), (
        f"{module} has both a test module and a reason why it has none"
        if module in WITHOUT
        else f"{module}.py has no {mirror_of(module).relative_to(ROOT)}: write it, or give the reason in WITHOUT"
    )


def test_the_list_of_reasons_is_short_and_names_only_modules_that_exist() -> None:
    assert WITHOUT.keys() <= set(MODULES)
    assert len(WITHOUT) <= len(MODULES) / 8
    assert all(len(reason) > 20 for reason in WITHOUT.values())
