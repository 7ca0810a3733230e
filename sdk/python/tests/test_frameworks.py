"""The SDK inside of FastAPI and Django, as their applications use it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import django
import httpx
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, JsonResponse
from django.urls import path
from fastapi import FastAPI, Request
from scripted import ScriptedServer
from test_known_flags import serve
from test_sync import ThreadedServer, lively

from flagent_realtime import FlagentWebSocketClient, FlagStore, sync
from flagent_realtime.baggage import FlagentBaggage, baggage_headers


async def test_fastapi_with_a_store_for_the_life_of_the_application() -> None:
    async with ScriptedServer(serve) as server:
        client = FlagentWebSocketClient(server.url("ws"))
        store = FlagStore(client)

        @asynccontextmanager
        async def lifespan(app: FastAPI) -> AsyncIterator[None]:
            async with client:
                await store.ready(timeout=10)
                yield

        app = FastAPI(lifespan=lifespan)
        app.add_middleware(FlagentBaggage, store=store, timeout=5.0)

        @app.get("/")
        async def home(request: Request) -> dict[str, object]:
            flag = store.get("a")
            sent = baggage_headers(store, request.headers.get("baggage"))
            return {"enabled": flag is not None and flag.enabled, **sent}

        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as browser,
        ):
            answer = await browser.get("/", headers={"baggage": "user=7,flagent-position=12@k"})
        assert answer.json() == {"enabled": True, "baggage": "user=7,flagent-position=12@k"}


urlpatterns: list[object] = []


def test_django_with_a_store_of_the_process() -> None:
    with ThreadedServer(lively) as threaded, sync.FlagentWebSocketClient(threaded.server.url("ws")) as client:
        store = sync.FlagStore(client)
        store.ready(10)

        def home(request: HttpRequest) -> JsonResponse:
            result = store.evaluate("new_payment_flow", request.GET["user"])
            return JsonResponse({"variant": result.variant_key})

        settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["app"], SECRET_KEY="tests", USE_TZ=True)
        django.setup()
        urlpatterns.append(path("", home))
        with httpx.Client(transport=httpx.WSGITransport(WSGIHandler()), base_url="http://app") as browser:
            assert browser.get("/", params={"user": "u1"}).json() == {"variant": "on"}
