"""The matrix names every supported version, and its servers are pinned by hash."""

import json
import re
import tomllib
from pathlib import Path

from cdc.admin.installation import OLDEST_SERVER
from tests.matrix.__main__ import PAGE, PYTHONS, TABLE, Result, with_result
from tests.matrix.servers import HOME, servers

ROOT = Path(__file__).parents[2]


def test_every_supported_version_is_in_the_matrix() -> None:
    assert [int(major) for major in servers()] == list(range(OLDEST_SERVER, 19))
    assert all(version.startswith(f"{major}.") for major, version in servers().items())
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["classifiers"]
    named = [re.search(r":: (3\.\d+)$", each) for each in classifiers]
    assert {found[1] for found in named if found} <= set(PYTHONS)


def test_the_servers_are_pinned_by_hash_and_name_no_address() -> None:
    text = (HOME / "package-lock.json").read_text(encoding="utf-8")
    packages = {name: each for name, each in json.loads(text)["packages"].items() if name}
    assert {each["version"] for each in packages.values()} == set(servers().values())
    assert all(each["integrity"].startswith("sha512-") for each in packages.values())
    assert "://" not in text


def test_a_result_takes_the_place_of_the_one_before_and_leaves_the_others() -> None:
    page = "Text.\n<!-- matrix -->\n<!-- end of matrix -->\nMore.\n"
    names = ["postgres-14", "lowest"]
    page = with_result(page, Result("lowest", "core", "FAILED: 1 failed", 1.0), "2026-11-29", names)
    page = with_result(page, Result("postgres-14", "capture", "300 passed", 1.0), "2026-11-29", names)
    page = with_result(page, Result("lowest", "core", "9 passed", 1.0), "2026-11-30", names)
    assert page == (
        "Text.\n<!-- matrix -->\n| on | tested | result | last run |\n|---|---|---|---|\n"
        "| postgres-14 | capture | 300 passed | 2026-11-29 |\n| lowest | core | 9 passed | 2026-11-30 |\n"
        "<!-- end of matrix -->\nMore.\n"
    )
    assert TABLE.search(PAGE.read_text(encoding="utf-8"))
