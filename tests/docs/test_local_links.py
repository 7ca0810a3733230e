"""The build of a site with broken links fails; `sh run docs` builds the documentation with the same extension."""

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

BROKEN = (
    ("[x](nowhere.md)", "nowhere"),
    ("[x](other.md#no-such-part)", "no-such-part"),
    ("[x](#no-such-part)", "no-such-part"),
    ("![x](nowhere.svg)", "nowhere.svg"),
    ('<a href="nowhere.html">x</a>', "nowhere.html does not exist"),
    ('<a href="other.html#no-such-part">x</a>', "other.html#no-such-part: that page has no such anchor"),
    ('<a href="../outside.html">x</a>', "../outside.html does not exist"),
)


def build(directory: Path, **pages: str) -> subprocess.CompletedProcess[str]:
    """Build a site of these pages; one that is refused is built to its end, and every reason is in stderr."""
    source = directory / "source"
    source.mkdir()
    contents = "\n".join(["other", *(name for name in pages if name != "index")])
    pages["index"] += f"\n```{{toctree}}\n{contents}\n```\n"
    for name, text in {**pages, "other": OTHER}.items():
        (source / f"{name}.md").write_text(text)
    (source / "drawing.svg").write_text(DRAWING)
    nothing = directory / "nothing"
    nothing.mkdir()
    chosen = {"root_doc": "index", "include_patterns": "*.md", "html_extra_path": nothing, "html_theme": "basic"}
    options = ["-W", "--keep-going", "-n", "-q", "-c", str(ROOT / "docs")]
    return subprocess.run(
        [sys.executable, "-m", "sphinx", *options, str(source), str(directory / "out")]
        + [f"-D{name}={value}" for name, value in chosen.items()],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """The build of a site in which page `broken0` has the first of the broken links, and so on."""
    pages = {f"broken{n}": f"{GOOD}\n{link}\n" for n, (link, _) in enumerate(BROKEN)}
    return build(tmp_path_factory.mktemp("site"), index=GOOD, **pages)


def test_a_site_with_valid_links_is_built(tmp_path: Path) -> None:
    done = build(tmp_path, index=GOOD)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "other.html").is_file()


@pytest.mark.parametrize("number", range(len(BROKEN)), ids=[link for link, _ in BROKEN])
def test_a_broken_link_is_rejected(refused: subprocess.CompletedProcess[str], number: int) -> None:
    assert refused.returncode != 0
    about = [line for line in refused.stderr.splitlines() if f"broken{number}." in line]
    assert any(BROKEN[number][1] in line for line in about), refused.stderr
