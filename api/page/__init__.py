"""The page at `/`: the files beside this one, served unchanged, without a build.

The files contain no data and need no credential; the page reads from the API with the reader's credential. URLs in them
are relative, so that the page works behind a proxy that serves it under a prefix.
"""

import html
from importlib.resources import files

from fastapi import APIRouter, Request, Response

from ..http.static_files import StaticFiles

__all__ = ["Page"]

# Scripts and styles only from files of this server. Trusted Types disable innerHTML and the like, so that the text of a
# flag never becomes markup.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types"
)

_STREAM = "{{stream}}"
_SWITCH = "{{switch}}"
_USAGE = "{{usage}}"


class Page:
    """Serves the page; `stream_path` is the path of the event stream, None if it is disabled.

    With `can_switch` it turns flags on and off, as the demo allows; with `has_usage` it shows how often each
    variant was used.
    """

    def __init__(self, stream_path: str | None, *, can_switch: bool = False, has_usage: bool = False) -> None:
        self._files = StaticFiles(_POLICY)
        for entry in files(__name__).iterdir():
            if entry.is_file():
                body = entry.read_bytes()
                if entry.name == "index.html":
                    body = body.replace(_STREAM.encode(), html.escape((stream_path or "").lstrip("/")).encode())
                    body = body.replace(_SWITCH.encode(), b"on" if can_switch else b"")
                    body = body.replace(_USAGE.encode(), b"on" if has_usage else b"")
                self._files.add(entry.name, body)
        self.router = APIRouter(include_in_schema=False)
        self.router.add_api_route("/", self._index, methods=["GET", "HEAD"])
        self.router.add_api_route("/page/{name}", self._part, methods=["GET", "HEAD"])

    async def _index(self, request: Request) -> Response:
        return self._files.answer(request, "index.html")

    async def _part(self, request: Request, name: str) -> Response:
        return self._files.answer(request, name)
