"""The build of a site with a broken link fails; `sh run docs` builds the documentation with the same extension."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

GOOD = """# Start

[a page](other.md), [a place](other.md#the-second-part), [here](#start), [away](https://flags.example.com/).
"""
OTHER = "# Other\n\n## The second part\n\n![drawing](drawing.svg)\n"
DRAWING = "<svg xmlns='http://www.w3.org/2000/svg' width='1' height='1'/>"


def build(directory: Path, start: str) -> subprocess.CompletedProcess[str]:
    source = directory / "source"
    source.mkdir()
    (source / "index.md").write_text(start)
    (source / "other.md").write_text(OTHER)
    (source / "drawing.svg").write_text(DRAWING)
    nothing = directory / "nothing"
    nothing.mkdir()
    chosen = {"root_doc": "index", "include_patterns": "*.md", "html_extra_path": nothing, "html_theme": "basic"}
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "sphinx",
            "-W",
            "-n",
            "-q",
            "-c",
            str(ROOT / "docs"),
            str(source),
            str(directory / "out"),
        ]
        + [f"-D{name}={value}" for name, value in chosen.items()],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_site_with_valid_links_is_built(tmp_path: Path) -> None:
    done = build(tmp_path, GOOD + "\n```{toctree}\nother\n```\n")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "other.html").is_file()


@pytest.mark.parametrize(
    ("link", "message"),
    [
        ("[x](nowhere.md)", "nowhere"),
        ("[x](other.md#no-such-part)", "no-such-part"),
        ("[x](#no-such-part)", "no-such-part"),
        ("![x](nowhere.svg)", "nowhere.svg"),
        ('<a href="nowhere.html">x</a>', "index.html: nowhere.html does not exist"),
        (
            '<a href="other.html#no-such-part">x</a>',
            "index.html: other.html#no-such-part: that page has no such anchor",
        ),
        ('<a href="../outside.html">x</a>', "index.html: ../outside.html does not exist"),
    ],
)
def test_a_broken_link_is_rejected(link: str, message: str, tmp_path: Path) -> None:
    done = build(tmp_path, f"{GOOD}\n{link}\n\n```{{toctree}}\nother\n```\n")
    assert done.returncode != 0
    assert message in done.stderr
