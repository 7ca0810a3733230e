"""The documentation at `/docs`: the OpenAPI document, shown by Swagger UI.

Swagger UI 5.35.0 lies in `swagger-ui`, unchanged, with its licence and those of what it contains: the files of the npm
package `swagger-ui-dist`. So the server needs no network, and no script of others runs beside a reader's credential.
"""

from importlib.resources import files

from fastapi import APIRouter, Request, Response

from ..http.static_files import StaticFiles

__all__ = ["Docs"]

# Swagger UI has its icons in `data:` URLs and sets styles on elements. Its scripts need neither `eval` nor inline code.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Docs:
    """Serves the documentation. URLs in it are relative, as in the page."""

    def __init__(self) -> None:
        self._files = StaticFiles(_POLICY)
        folder = files(__name__)
        for entry in (*folder.iterdir(), *(folder / "swagger-ui").iterdir()):
            if entry.is_file():
                self._files.add(entry.name, entry.read_bytes())
        self.router = APIRouter(include_in_schema=False)
        self.router.add_api_route("/docs", self._index, methods=["GET", "HEAD"])
        self.router.add_api_route("/docs/{name}", self._part, methods=["GET", "HEAD"])

    async def _index(self, request: Request) -> Response:
        return self._files.answer(request, "index.html")

    async def _part(self, request: Request, name: str) -> Response:
        return self._files.answer(request, name)
