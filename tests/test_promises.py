"""Every test named in the tables of promises and of threats exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TABLES = [ROOT / "docs" / "promises.md", ROOT / "SECURITY.md"]
NAMED = sorted(
    {
        found
        for table in TABLES
        for found in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", table.read_text(encoding="utf-8"))
    }
)


def test_every_promise_is_in_the_table() -> None:
    rows = re.findall(r"^\| (P\d) \|", (ROOT / "docs" / "promises.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == [f"P{n}" for n in range(1, 9)]
    assert len(NAMED) > 20


@pytest.mark.parametrize(("file", "name"), NAMED, ids=[name for _, name in NAMED])
def test_the_test_that_keeps_a_promise_exists(file: str, name: str) -> None:
    assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
