"""Builds and runs the server: one process, or several that share one port."""

import asyncio
import gc
import logging
import resource
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

from api.access.authentication import Authentication
from api.access.cors import Cors
from api.app import Application, create_app
from api.limits.allowed_hosts import AllowedHosts
from api.limits.client_address import Proxies
from api.limits.connection_limit import ConnectionLimit
from api.limits.handshake_rate import HandshakeRateLimiter
from api.limits.http_limits import (
    BoundedHttpProtocol,
    BoundedWebSocketProtocol,
    ConnectionCounter,
    Limits,
    no_connection_left,
    refusal,
)
from api.limits.listening_socket import ListeningSocket
from api.limits.path_prefix import PathPrefix
from api.limits.request_rate import RequestRateLimiter
from api.page import Page
from api.routes.demo_switch import DemoSwitch, Switch
from api.routes.direct import DIRECT_ROUTES, DirectRoutes
from api.routes.export import EXPORT_PATH
from api.routes.metrics import Metrics
from api.routes.ofrep import REFETCH_PATH
from api.routes.realtime import REALTIME_PATHS
from api.streams.gateway import Gateway
from api.streams.stream_query import StreamEndpointSpec, own_endpoint, realtime_endpoint, refetch_endpoint
from api.streams.uvicorn_handover import make_http_protocol
from cdc.auth.authenticator import Authenticator
from cdc.auth.json_web_token import JwtVerifier, VerificationKey, public_key, secret_key
from cdc.auth.jwks_source import JwksSource
from cdc.auth.key_store import KeyStore
from cdc.cli.workers import run_workers
from cdc.core.descriptors import ARRIVING, connections_within
from cdc.core.errors import InvalidInput
from cdc.database.database_url import read_database_url
from cdc.evaluation.evaluator import Evaluator
from cdc.node.exposures import Exposures
from cdc.node.pipeline import Pipeline
from cdc.node.pipelines import Pipelines
from cdc.node.worker_peers import WorkerPeers
from cdc.observe.status import StatusReader
from cdc.postgres.upstream import PostgresUpstream
from cdc.settings.settings import Settings
from cdc.source.upstream import Upstream

if TYPE_CHECKING:
    from cdc.observe.tracing import Tracing

__all__ = ["build_server", "run_server", "upstream_of"]

logger = logging.getLogger(__name__)

# Streams close within two seconds; connections that are still open after this are dropped.
_GRACEFUL_S = 4

_BACKLOG = 4096

# How long the first answer may wait until the flags are loaded.
_LOAD_S = 3.0


def run_server(settings: Settings, *, on_ready: Callable[[], None], switch: Switch | None = None) -> int:
    """Serve until a signal ends it; the exit code. `settings.nats.source` or `settings.database.url` must be given.

    `switch` lets the page turn flags on and off.
    """
    if (settings.listen.tls_cert is None) != (settings.listen.tls_key is None):
        raise InvalidInput(
            "FLAGENT_CDC_TLS_CERT and FLAGENT_CDC_TLS_KEY belong together; one of them is missing",
            name="FLAGENT_CDC_TLS_CERT",
        )
    if settings.web.traces_enabled and find_spec("opentelemetry.sdk") is None:
        raise InvalidInput(
            "FLAGENT_CDC_TRACES_ENABLED needs OpenTelemetry: pip install 'flagent-cdc[otel]'",
            name="FLAGENT_CDC_TRACES_ENABLED",
        )
    upstream = upstream_of(settings)

    # Every client is an open file, and the default soft limit is too low for a server.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    _warn_of_few_descriptors(settings, most)

    def work(peers: WorkerPeers, on_ready: Callable[[], None]) -> int:
        with _listen(settings) as listener:
            return asyncio.run(_serve(settings, upstream, listener, on_ready, peers, switch))

    if settings.listen.workers == 1:
        return work(WorkerPeers(), on_ready)
    # Readable by this user only.
    with TemporaryDirectory(prefix="flagent-cdc-") as directory:

        def work_among(place: int, on_ready: Callable[[], None]) -> int:
            return work(WorkerPeers(Path(directory), place, settings.listen.workers), on_ready)

        return run_workers(settings.listen.workers, work_among, on_ready)


def _warn_of_few_descriptors(settings: Settings, descriptors: int) -> None:
    wanted, possible = settings.most_streams, connections_within(descriptors)
    if possible < wanted:
        logger.warning(
            "Fewer files may be open than connections are allowed; raise LimitNOFILE or ulimit -n",
            extra={
                "action": "descriptors_low",
                "descriptors": descriptors,
                "connections": possible,
                "allowed": wanted,
            },
        )


def _max_connections(settings: Settings) -> int:
    """What the settings allow, and what the limit of open files does."""
    possible = connections_within(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    return min(possible, settings.limits.max_connections or possible)


def upstream_of(settings: Settings) -> Upstream:
    """The source that the settings name."""
    if settings.nats.source is not None:
        # Imported late: most servers need no NATS client.
        from cdc.jetstream.upstream import JetStreamUpstream

        return JetStreamUpstream(settings)
    if settings.database.url is None:
        raise ValueError("the server needs a database URL; the command starts the embedded database before")
    return PostgresUpstream(settings, read_database_url(settings.database.url))


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.listen.host else socket.AF_INET
    try:
        listener = socket.create_server(
            (settings.listen.host, settings.listen.port),
            family=family,
            backlog=_BACKLOG,
            reuse_port=settings.listen.workers > 1,
        )
    except OSError as error:
        raise InvalidInput(
            f"cannot listen on {settings.listen.host} port {settings.listen.port}: {error.strerror or error}",
            name="FLAGENT_WS_PORT",
        ) from error
    # Connections inherit it. asyncio sets it only on sockets that were made with the number of TCP, and without it the
    # body of every answer waits 40 ms for the acknowledgement of its head.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


class Server(uvicorn.Server):
    """uvicorn's server; it calls `on_ready` once, when it listens and the flags are loaded."""

    def __init__(
        self,
        config: uvicorn.Config,
        gateway: Gateway,
        on_ready: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._gateway = gateway
        self._on_ready: Callable[[], None] | None = on_ready

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second, by uvicorn."""
        if self._on_ready is not None and self._gateway.is_loaded:
            self._on_ready()
            self._on_ready = None
        return await super().on_tick(counter)

    def guarded(self, listener: socket.socket) -> socket.socket:
        """The socket to serve on instead of `listener`, which must not be used afterwards."""
        is_plain = self.config.ssl_certfile is None
        return ListeningSocket(
            listener,
            room=lambda: self._gateway.connection_counter.room,
            arriving=ARRIVING,
            refusal=refusal(self.server_state, no_connection_left(), self._gateway.cache_policy) if is_plain else b"",
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Answer waiting long polls now: uvicorn waits for pending answers.
        self._gateway.pipelines.stop_answering()
        await super().shutdown(sockets)


async def _serve(
    settings: Settings,
    upstream: Upstream,
    listener: socket.socket,
    on_ready: Callable[[], None],
    peers: WorkerPeers,
    switch: Switch | None,
) -> int:
    tracing = _tracing() if settings.web.traces_enabled else None
    server = build_server(settings, upstream, on_ready, peers=peers, tracing=tracing, switch=switch)
    await server.serve(sockets=[server.guarded(listener)])
    return 0


def _tracing() -> "Tracing":
    """Imported only when enabled: it takes a quarter of a second and needs optional packages."""
    from cdc.observe.tracing import Tracing

    return Tracing(version("flagent-cdc"))


def build_server(
    settings: Settings,
    upstream: Upstream,
    on_ready: Callable[[], None] = lambda: None,
    *,
    peers: WorkerPeers | None = None,
    tracing: "Tracing | None" = None,
    with_handover: bool = True,
    switch: Switch | None = None,
    owns_process: bool = True,
) -> "Server":
    """The whole server for one process; must be called, and its `serve` awaited, on the loop that it will run on.

    `peers` are the other workers; None for a single process. With `tracing` the server is traced, and closes it at its
    end. `with_handover=False` serves every stream by plain ASGI, as under another ASGI server.
    `switch` lets the page turn flags on and off. Without `owns_process` the process is another program's.
    """
    peers = WorkerPeers() if peers is None else peers
    observer = None if tracing is None else tracing.publications()
    pipeline = Pipeline(settings, upstream, observer=observer)
    pipelines = Pipelines(
        pipeline, partial(Pipeline, settings, upstream, observer=observer, tables=pipeline.tables), upstream.lanes()
    )
    make_evaluator = Evaluator if tracing is None else tracing.evaluator
    evaluator = make_evaluator(lambda: pipeline.hub.catalog, past=pipeline.past.at)
    endpoints: dict[str, StreamEndpointSpec] = {}
    if settings.sse.enabled:
        endpoints = {
            settings.sse.path: own_endpoint,
            **dict.fromkeys(REALTIME_PATHS, realtime_endpoint),
            REFETCH_PATH: refetch_endpoint,
        }
    proxies = Proxies(settings.limits.trusted_proxies)
    authenticator = _authenticator(settings, upstream.key_store()) if settings.auth.is_required else None
    gateway = Gateway(
        pipelines,
        ConnectionLimit("SSE", settings.sse.max_clients),
        ConnectionLimit("WebSocket", settings.websocket.max_connections),
        endpoints,
        authentication=Authentication(
            authenticator,
            cookie=settings.auth.cookie,
            open_paths=(*REALTIME_PATHS, EXPORT_PATH) if settings.auth.open_realtime else (),
        ),
        cors=Cors(settings.web.cors_origins, with_local=authenticator is None),
        handshake_rate=HandshakeRateLimiter(settings.limits.handshakes_per_second),
        connection_counter=ConnectionCounter(
            Limits(
                settings.limits.request_timeout_s,
                settings.pipeline.stall_timeout_s,
                _max_connections(settings),
                settings.limits.max_connections_per_client,
            ),
            proxies,
        ),
        request_rate=RequestRateLimiter(
            settings.limits.requests_per_second, settings.limits.requests_per_second_per_client
        ),
        allowed_hosts=_allowed_hosts(settings),
        path_prefix=PathPrefix(settings.web.path_prefix, proxies),
    )
    websocket_path = settings.websocket.path if settings.websocket.enabled else None

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as running:
            if tracing is not None:
                running.push_async_callback(tracing.close)
            await running.enter_async_context(pipelines.running())
            if exposures is not None:
                await running.enter_async_context(exposures.running())
            if authenticator is not None:
                await running.enter_async_context(authenticator.running())
                await running.enter_async_context(gateway.credential_expiry.running())
            if metrics is not None:
                await running.enter_async_context(peers.answering(metrics.own_as_text))
            # Connections wait in the backlog meanwhile. Answered with 503 they would be lost: a browser's EventSource
            # never comes back after a status other than 200. Without a source, health checks are still
            # answered.
            await pipelines.loaded(_LOAD_S)
            if owns_process:
                # They live as long as the process: hiding them from the collector doubles the connects per second.
                gc.collect()
                gc.freeze()
            yield

    store = upstream.exposure_store()
    exposures = None if store is None else Exposures(store)
    page = None
    if settings.web.page_enabled:
        page = Page(
            settings.sse.path if settings.sse.enabled else None,
            can_switch=switch is not None,
            has_usage=exposures is not None,
        )
    status = StatusReader(pipeline)
    metrics = (
        Metrics(status, gateway, evaluator, peers, version("flagent-cdc"), exposures)
        if settings.web.metrics_enabled
        else None
    )
    web = create_app(
        pipeline,
        evaluator,
        gateway,
        version("flagent-cdc"),
        lifespan,
        status_reader=status,
        page=page,
        metrics=metrics,
        usage=exposures,
    )
    if switch is not None:
        web.include_router(DemoSwitch(switch).router)
    protocol: type[BoundedHttpProtocol] = type(
        "BoundedProtocol",
        (BoundedHttpProtocol,),
        {
            "connection_counter": gateway.connection_counter,
            "cache_policy": gateway.cache_policy,
            "allowed_hosts": gateway.allowed_hosts,
        },
    )
    spans = None if tracing is None else tracing.spans("http" if settings.listen.tls_cert is None else "https")
    if with_handover:
        direct = DirectRoutes(web.state.services, web.state.routes, DIRECT_ROUTES, span=spans)
        protocol = make_http_protocol(gateway, websocket_path=websocket_path, evaluator=evaluator, direct=direct)
    application: ASGIApp = Application(web, gateway, websocket_path=websocket_path, evaluator=evaluator)
    if tracing is not None and spans is not None:
        application = tracing.requests(application, spans, gateway.endpoints)
    config = uvicorn.Config(
        application,
        http=protocol,
        ws=type("WebSocketProtocol", (BoundedWebSocketProtocol,), {"connection_counter": gateway.connection_counter}),
        # `Proxies` decides which peers may name the client: uvicorn would trust every process of this machine.
        proxy_headers=False,
        ws_max_size=1024 * 1024,
        ws_per_message_deflate=False,
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACEFUL_S,
        backlog=_BACKLOG,
        ssl_certfile=settings.listen.tls_cert,
        ssl_keyfile=None if settings.listen.tls_key is None else str(settings.listen.tls_key),
    )
    return Server(config, gateway, on_ready)


def _allowed_hosts(settings: Settings) -> AllowedHosts:
    """All names where credentials or the network protect the server, unless the settings name some."""
    names = settings.web.allowed_hosts
    is_open = settings.listen.is_loopback and not settings.auth.is_required
    return AllowedHosts(names if names or is_open else None)


def _authenticator(settings: Settings, store: KeyStore) -> Authenticator:
    """Checks credentials as the settings say; raises `InvalidInput` for a key that cannot be read."""
    keys: list[VerificationKey] = []
    if settings.auth.jwt_secret is not None:
        keys.append(secret_key(settings.auth.jwt_secret))
    if settings.auth.jwt_public_key is not None:
        keys.append(public_key(settings.auth.jwt_public_key))
    jwks = settings.auth.jwt_jwks
    return Authenticator(
        store,
        JwtVerifier(settings.auth.jwt_rules, keys) if keys or jwks is not None else None,
        None if jwks is None else JwksSource(jwks),
        own_keys=keys,
    )
