"""A site with a link that leads nowhere is refused; `sh run docs` builds the real one with the same extension."""

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


def test_a_site_whose_links_lead_somewhere_is_built(tmp_path: Path) -> None:
    done = build(tmp_path, GOOD + "\n```{toctree}\nother\n```\n")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "other.html").is_file()


@pytest.mark.parametrize(
    ("link", "told"),
    [
        ("[x](nowhere.md)", "nowhere"),
        ("[x](other.md#no-such-part)", "no-such-part"),
        ("[x](#no-such-part)", "no-such-part"),
        ("![x](nowhere.svg)", "nowhere.svg"),
        ('<a href="nowhere.html">x</a>', "index.html: nowhere.html is not there"),
        ('<a href="other.html#no-such-part">x</a>', "index.html: other.html#no-such-part: there is no such place"),
        ('<a href="../outside.html">x</a>', "index.html: ../outside.html is not there"),
    ],
)
def test_a_link_that_leads_nowhere_is_refused(link: str, told: str, tmp_path: Path) -> None:
    done = build(tmp_path, f"{GOOD}\n{link}\n\n```{{toctree}}\nother\n```\n")
    assert done.returncode != 0
    assert told in done.stderr
