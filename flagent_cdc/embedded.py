"""The whole server as an ASGI application inside another one."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from api.limits.path_prefix import MOUNT
from cdc.cli.server import build_server
from cdc.database.database_url import read_database_url
from cdc.postgres.upstream import PostgresUpstream

from .settings import settings_of

__all__ = ["Embedded", "embed"]


def embed(database_url: str, *, settings: Mapping[str, str] | None = None) -> "Embedded":
    """The server of a database, to mount under any path: page, streams, evaluation, change feed.

    `settings` has names and values as the environment variables of the server; the environment itself is not read.
    Everyone who reaches the application reads every flag, unless `FLAGENT_CDC_AUTH_ENABLED` is set or the program
    around it admits only some. Raises `InvalidInput` for a bad URL or setting.
    """
    return Embedded(database_url, settings)


class Embedded:
    """An ASGI application; made by `embed`. It answers only within `lifespan`.

    In FastAPI and Starlette: `FastAPI(lifespan=events.lifespan)` and `app.mount("/flags", events)`. For a framework
    without a lifespan, such as Django, `beside` joins both into one application.
    """

    def __init__(self, database_url: str, settings: Mapping[str, str] | None = None) -> None:
        self._settings = settings_of(database_url, settings)
        self._conninfo = read_database_url(database_url)
        self._application: ASGIApp | None = None

    @asynccontextmanager
    async def lifespan(self, _: object = None) -> AsyncIterator[None]:
        """Read the flags and follow the database until the end of the block. Frameworks pass their application.

        Returns within seconds also where the database does not answer: requests are answered with 503 until it does.
        """
        if self._application is not None:
            raise RuntimeError("this application is running already; embed another one")
        server = build_server(
            self._settings, PostgresUpstream(self._settings, self._conninfo), with_handover=False, owns_process=False
        )
        application: Any = server.config.app
        web: FastAPI = getattr(application, "wrapped", application).web
        async with contextlib.AsyncExitStack() as running:
            await running.enter_async_context(web.router.lifespan_context(web))
            # Waiting readers of the change feed are answered before the rest ends.
            running.callback(web.state.gateway.pipelines.stop_answering)
            self._application = application
            try:
                yield
            finally:
                self._application = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._run_lifespan(receive, send)
            return
        application = self._application
        if application is None:
            raise RuntimeError(
                "flagent_cdc.embed(…) answers only within its lifespan: pass it to the framework, as in "
                "FastAPI(lifespan=events.lifespan), or use events.beside(app, '/flags')"
            )
        await application(_without_mount(scope), receive, send)

    def beside(self, other: ASGIApp, path: str) -> ASGIApp:
        """One application that serves this below `path` and everything else by `other`, which gets no lifespan."""
        prefix = path.rstrip("/")
        if not prefix.startswith("/"):
            raise ValueError(f"path must begin with a slash, such as /flags; {path!r} does not")

        async def both(scope: Scope, receive: Receive, send: Send) -> None:
            root: str = scope.get("root_path", "")
            if scope["type"] == "lifespan":
                await self(scope, receive, send)
            elif _is_below(prefix, _without(root, scope["path"])):
                await self({**scope, "root_path": root + prefix, "app_root_path": root}, receive, send)
            else:
                await other(scope, receive, send)

        return both

    async def _run_lifespan(self, receive: Receive, send: Send) -> None:
        """The server's side of the lifespan protocol, for an application that is not mounted in another."""
        await receive()
        async with contextlib.AsyncExitStack() as running:
            try:
                await running.enter_async_context(self.lifespan())
            except Exception as error:
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                raise
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


def _without_mount(scope: Scope) -> Scope:
    """The request as it is below the mount. Its path there is public, and links in answers need it."""
    mount: str = scope.get("root_path", "")
    # As Starlette names it: the part that is the program's own, which a proxy has removed or not.
    inner = mount.removeprefix(scope.get("app_root_path", ""))

    def below(path: str) -> str:
        # Servers and frameworks pass either the whole path, as ASGI says, or what is below one or both parts.
        return _without(mount if _is_below(mount, path) else inner, path) or "/"

    raw = scope.get("raw_path")
    return {
        **scope,
        "path": below(scope["path"]),
        "raw_path": below(raw.decode("latin-1")).encode("latin-1") if isinstance(raw, bytes) else b"/",
        "root_path": "",
        MOUNT: mount,
    }


def _is_below(prefix: str, path: str) -> bool:
    return path == prefix or path.startswith(f"{prefix}/")


def _without(prefix: str, path: str) -> str:
    return path[len(prefix) :] if prefix and _is_below(prefix, path) else path
