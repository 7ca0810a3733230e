"""Files that are served unchanged from memory: those of the page, and those of the documentation."""

import hashlib
from dataclasses import dataclass

from fastapi import Request, Response

from .entity_tag import matches_tag
from .problem import Problem

__all__ = ["StaticFiles"]

_HTML = "text/html; charset=utf-8"

_TYPES = {
    ".html": _HTML,
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    media_type: str
    etag: str


class StaticFiles:
    """Files by name. `policy` is the Content-Security-Policy of the documents among them."""

    def __init__(self, policy: str) -> None:
        self._policy = policy
        self._files: dict[str, _File] = {}

    def add(self, name: str, body: bytes) -> None:
        """Serve a file; one of a type that browsers are not given, such as a licence, is left out."""
        media_type = _TYPES.get(name[name.rfind(".") :])
        if media_type is not None:
            self._files[name] = _File(body, media_type, f'"{hashlib.sha256(body).hexdigest()[:16]}"')

    def answer(self, request: Request, name: str) -> Response:
        """The file, or 304; raises `Problem` for a name that does not exist."""
        file = self._files.get(name)
        if file is None:
            raise Problem(404, "not_found", f"no such path: {request.url.path}")
        # With an entity tag alone, caches ask each time, so that after an upgrade no old file meets a new one. The
        # policy is in a 304 too: its headers replace those in the browser's cache.
        headers = {"etag": file.etag}
        if file.media_type == _HTML:
            headers["content-security-policy"] = self._policy
        if matches_tag(request.headers.get("if-none-match", ""), file.etag):
            return Response(status_code=304, headers=headers)
        return Response(file.body, media_type=file.media_type, headers=headers)
