"""The page at `/`: the files beside this one, served unchanged, without a build.

The files contain no data and need no credential; the page reads from the API with the reader's credential. URLs in them
are relative, so that the page works behind a proxy that serves it under a prefix.
"""

import hashlib
import html
from dataclasses import dataclass
from importlib.resources import files

from fastapi import APIRouter, Request, Response

from ..http.entity_tag import matches_tag
from ..http.problem import Problem

__all__ = ["Page"]

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

# Scripts and styles only from files of this server. Trusted Types disable innerHTML and the like, so that the text of a
# flag never becomes markup.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types"
)

_STREAM = "{{stream}}"


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    media_type: str
    etag: str


class Page:
    """Serves the page; `stream_path` is the path of the event stream, None if it is disabled."""

    def __init__(self, stream_path: str | None) -> None:
        self._files: dict[str, _File] = {}
        for entry in files(__name__).iterdir():
            media_type = _TYPES.get(entry.name[entry.name.rfind(".") :])
            if media_type is None:
                continue
            body = entry.read_bytes()
            if entry.name == "index.html":
                body = body.replace(_STREAM.encode(), html.escape((stream_path or "").lstrip("/")).encode())
            self._files[entry.name] = _File(body, media_type, f'"{hashlib.sha256(body).hexdigest()[:16]}"')
        self.router = APIRouter(include_in_schema=False)
        self.router.add_api_route("/", self._index, methods=["GET", "HEAD"])
        self.router.add_api_route("/page/{name}", self._part, methods=["GET", "HEAD"])

    async def _index(self, request: Request) -> Response:
        return self._answer(request, "index.html")

    async def _part(self, request: Request, name: str) -> Response:
        return self._answer(request, name)

    def _answer(self, request: Request, name: str) -> Response:
        file = self._files.get(name)
        if file is None:
            raise Problem(404, "not_found", f"no such path: {request.url.path}")
        # With an entity tag alone, caches ask each time, so that after an upgrade no old file meets a new one. The
        # policy is in a 304 too: its headers replace those in the browser's cache.
        headers = {"etag": file.etag}
        if file.media_type == _TYPES[".html"]:
            headers["content-security-policy"] = _POLICY
        if matches_tag(request.headers.get("if-none-match", ""), file.etag):
            return Response(status_code=304, headers=headers)
        return Response(file.body, media_type=file.media_type, headers=headers)
