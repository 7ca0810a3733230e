"""A Sphinx extension that fails the build of a site with broken links.

Sphinx and MyST check only links that they resolve. This extension checks the built pages: every `href` and `src` within
the site must lead to a file, and every fragment to an `id` in it.
"""

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

from sphinx.application import Sphinx
from sphinx.errors import SphinxError

__all__ = ["broken_links", "setup"]


class _Page(HTMLParser):
    """The links and the anchors of one page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = {"", "top"}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value is not None:
                self.links.append(value)
            elif name in ("id", "name") and value is not None:
                self.anchors.add(value)


def broken_links(site: Path) -> Iterator[str]:
    """A message for each broken link, in the order of the pages."""
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            address, anchor = urldefrag(link)
            target = (path.parent / unquote(urlsplit(address).path)).resolve() if parts.path else path.resolve()
            place = path.relative_to(site)
            if not target.is_relative_to(site.resolve()) or not target.is_file():
                yield f"{place}: {link} does not exist"
            elif (
                target.suffix == ".html"
                and unquote(anchor) not in pages[site / target.relative_to(site.resolve())].anchors
            ):
                yield f"{place}: {link}: that page has no such anchor"


def _fail_on_broken(app: Sphinx, failure: Exception | None) -> None:
    if failure is None and app.builder.format == "html":
        broken = list(broken_links(Path(app.outdir)))
        if broken:
            raise SphinxError("broken links:\n" + "\n".join(broken))


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("build-finished", _fail_on_broken)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
