"""The settings, one section for each part of the program that reads them.

Each field carries its variable, the format of its value and one sentence for the manual. Durations are in seconds,
sizes in bytes. Variables of `FLAGENT_WS_…` and `FLAGENT_SSE_…` keep the names and defaults that Flagent announced.
"""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path

from ..auth.json_web_token import JwtRules
from ..core.subscription.grant import Grant
from .value_formats import (
    AGE,
    BOOLEAN,
    COUNT,
    COUNT_OR_OFF,
    DATABASE_URL,
    DIRECTORY,
    DURATION,
    FILE,
    FORMAT,
    HOSTS,
    JWKS,
    LEVEL,
    LIMIT,
    NAMES,
    NETWORKS,
    ORIGINS,
    PORT,
    PUBLIC_KEY,
    SCOPES,
    SECRET,
    SIZE,
    TEXT,
    URL_PATH,
    WORKERS,
)
from .variable import optional, setting

__all__ = [
    "FLAGENT_DATABASE",
    "AuthSettings",
    "DatabaseSettings",
    "LimitSettings",
    "ListenSettings",
    "ListenerSettings",
    "LogSettings",
    "PipelineSettings",
    "RetentionSettings",
    "SseSettings",
    "WebSettings",
    "WebSocketSettings",
]

FLAGENT_DATABASE = "FLAGENT_DB_DBCONNECTIONSTR"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenSettings:
    """Where the server listens, and in how many processes."""

    host: str = setting("FLAGENT_CDC_HOST", TEXT, "127.0.0.1", "The address the server listens on.")
    port: int = setting("FLAGENT_WS_PORT", PORT, "8080", "The server's port, for all of HTTP, SSE and WebSocket.")
    insecure: bool = setting(
        "FLAGENT_CDC_INSECURE",
        BOOLEAN,
        "false",
        "Allow an address that other machines can reach, without authentication.",
    )
    workers: int = setting("FLAGENT_CDC_WORKERS", WORKERS, "1", "Processes that share the port.")
    tls_cert: Path | None = optional(
        "FLAGENT_CDC_TLS_CERT", FILE, "The certificate chain (PEM); with it the server speaks TLS."
    )
    tls_key: Path | None = optional("FLAGENT_CDC_TLS_KEY", FILE, "The certificate's private key (PEM).")

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches a server that listens there."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthSettings:
    """How clients authenticate."""

    enabled: bool = setting(
        "FLAGENT_CDC_AUTH_ENABLED",
        BOOLEAN,
        "false",
        "Require a credential from every client: an API key (`flagent-cdc keys`), or a JSON Web Token where it can be "
        "verified.",
    )
    open_realtime: bool = setting(
        "FLAGENT_CDC_AUTH_OPEN_REALTIME",
        BOOLEAN,
        "false",
        "Leave Flagent's own realtime stream and its export open to every client: Flagent's clients send no "
        "credentials there.",
    )
    cookie: str = setting("FLAGENT_CDC_AUTH_COOKIE", TEXT, "access_token", "The cookie that may carry a credential.")
    stream_token_secret: str | None = optional(
        "FLAGENT_CDC_AUTH_STREAM_TOKEN_SECRET",
        SECRET,
        "Signs the stream tokens of nodes that read from NATS; set the same value on all of them. When unset, a token "
        "is valid on the machine that issued it, until its server stops. Nodes that read from PostgreSQL share a "
        "secret there.",
        secret=True,
    )
    jwt_secret: str | None = optional(
        "FLAGENT_CDC_AUTH_JWT_SECRET",
        SECRET,
        "Verifies tokens of HS256 and HS512. Turns authentication on.",
        secret=True,
    )
    jwt_public_key: str | None = optional(
        "FLAGENT_CDC_AUTH_JWT_PUBLIC_KEY", PUBLIC_KEY, "Verifies tokens of RS256 or ES256. Turns authentication on."
    )
    jwt_jwks: str | None = optional(
        "FLAGENT_CDC_AUTH_JWT_JWKS",
        JWKS,
        "A JWK Set whose keys verify tokens of RS256 and ES256, read again every ten minutes and when a token names a "
        "key that is not in it. Turns authentication on.",
    )
    jwt_audience: str | None = optional(
        "FLAGENT_CDC_AUTH_JWT_AUDIENCE", TEXT, "The `aud` of a token; when unset, a token with one is rejected."
    )
    jwt_issuer: str | None = optional("FLAGENT_CDC_AUTH_JWT_ISSUER", TEXT, "The `iss` of a token.")
    jwt_claim: str = setting(
        "FLAGENT_CDC_AUTH_JWT_CLAIM", TEXT, "flagent_cdc", "The claim with the scopes, written as those of an API key."
    )
    jwt_default_scopes: Grant | None = optional(
        "FLAGENT_CDC_AUTH_JWT_DEFAULT_SCOPES",
        SCOPES,
        "The scopes of a token without that claim; when unset, such a token is rejected.",
    )

    @property
    def is_required(self) -> bool:
        """Whether clients must authenticate; also if only a key that verifies tokens is set, so that a forgotten switch
        does not open the server."""
        ways = (self.jwt_secret, self.jwt_public_key, self.jwt_jwks)
        return self.enabled or any(way is not None for way in ways)

    @property
    def jwt_rules(self) -> JwtRules:
        return JwtRules(self.jwt_audience, self.jwt_issuer, self.jwt_claim, self.jwt_default_scopes)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings:
    """What the server offers beside the streams, and to which pages."""

    cors_origins: tuple[str, ...] = optional(
        "FLAGENT_CDC_CORS_ORIGINS",
        ORIGINS,
        "Origins whose pages may read responses and open WebSockets in a browser; `*` allows any, but without cookies. "
        "With authentication off, pages of this machine are allowed too.",
        default=(),
    )
    allowed_hosts: tuple[str, ...] = optional(
        "FLAGENT_CDC_ALLOWED_HOSTS",
        HOSTS,
        "Names and addresses that a request may have in `Host`, beside those of this machine (`localhost`, 127.0.0.1, "
        "::1); others get 421. `*` allows any. When unset, a server on a loopback address without authentication "
        "allows no other; every other server allows any.",
        default=(),
    )
    path_prefix: str = optional(
        "FLAGENT_CDC_PATH_PREFIX",
        URL_PATH,
        "The path under which a proxy serves the server, where the proxy removes it, such as `/flags`. A trusted proxy "
        "may send it as `X-Forwarded-Prefix` instead.",
        default="",
    )
    page_enabled: bool = setting(
        "FLAGENT_CDC_PAGE_ENABLED", BOOLEAN, "true", "Serve the page at `/`: live flags, events, evaluation."
    )
    metrics_enabled: bool = setting(
        "FLAGENT_CDC_METRICS_ENABLED",
        BOOLEAN,
        "true",
        "Serve metrics for Prometheus at `/metrics`, to credentials with the right `admin`.",
    )
    traces_enabled: bool = setting(
        "FLAGENT_CDC_TRACES_ENABLED",
        BOOLEAN,
        "false",
        "Send OpenTelemetry traces to `OTEL_EXPORTER_OTLP_ENDPOINT`; needs the package `flagent-cdc[otel]`.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSocketSettings:
    """The WebSocket endpoint."""

    enabled: bool = setting("FLAGENT_WS_ENABLED", BOOLEAN, "true", "Serve the WebSocket.")
    path: str = setting("FLAGENT_WS_PATH", URL_PATH, "/ws", "Its path.")
    ping_interval_s: float = setting(
        "FLAGENT_WS_PING_INTERVAL", DURATION, "30s", "Time between two heartbeats and protocol pings."
    )
    max_connections: int = setting(
        "FLAGENT_WS_MAX_CONNECTIONS", COUNT, "10000", "WebSockets at the same time; beyond it, 503 with Retry-After."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SseSettings:
    """The event stream (SSE)."""

    enabled: bool = setting("FLAGENT_SSE_ENABLED", BOOLEAN, "true", "Serve the event stream (SSE).")
    path: str = setting("FLAGENT_SSE_PATH", URL_PATH, "/api/v1/events/stream", "Its path.")
    keep_alive_s: float = setting("FLAGENT_SSE_KEEP_ALIVE", DURATION, "30s", "Time between two keep-alives.")
    max_clients: int = setting(
        "FLAGENT_SSE_MAX_CLIENTS", COUNT, "10000", "Event streams at the same time; beyond it, 503 with Retry-After."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSettings:
    """The database whose changes are captured."""

    url: str | None = optional(
        "FLAGENT_CDC_DATABASE_URL",
        DATABASE_URL,
        f"The database to watch. When unset, Flagent's own `{FLAGENT_DATABASE}` (also as `jdbc:postgresql://…`); when "
        "neither is set, an embedded PostgreSQL.",
        secret=True,
    )
    data_dir: Path | None = optional(
        "FLAGENT_CDC_DATA_DIR",
        DIRECTORY,
        "Where the embedded PostgreSQL keeps its data. When unset, `$XDG_DATA_HOME/flagent-cdc/postgres`, else "
        "`~/.local/share/flagent-cdc/postgres`; for root `/var/lib/flagent-cdc/postgres`.",
    )
    schemas: tuple[str, ...] = setting(
        "FLAGENT_CDC_SCHEMAS", NAMES, "public", "The schemas with Flagent's tables, one for each tenant."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerSettings:
    """How the listener follows the change log."""

    probe_interval_s: float = setting(
        "FLAGENT_CDC_PROBE_INTERVAL",
        DURATION,
        "5s",
        "Time between two probes, which prove that notifications still arrive.",
    )
    poll_interval_s: float = setting(
        "FLAGENT_CDC_POLL_INTERVAL",
        DURATION,
        "1s",
        "Time between two polls of the change log while notifications do not arrive.",
    )
    coalesce_window_s: float = setting(
        "FLAGENT_CDC_COALESCE_WINDOW",
        DURATION,
        "2ms",
        "How long commits wait to be sent together while the server is busy; an idle server sends at once.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineSettings:
    """How much a pipeline keeps in memory and reads back for its subscribers."""

    ring_events: int = setting(
        "FLAGENT_CDC_RING_EVENTS", COUNT, "100000", "Latest events kept in memory for subscribers that reconnect."
    )
    ring_bytes: int = setting("FLAGENT_CDC_RING_BYTES", SIZE, "64MiB", "The same, in bytes; the smaller limit counts.")
    max_flag_bytes: int = setting(
        "FLAGENT_CDC_MAX_FLAG_BYTES",
        SIZE,
        "1MiB",
        "Largest flag that is sent on streams and in snapshots; of a larger one only its head with `tooLarge`. Set the "
        "same value on all servers.",
    )
    replay_limit: int = setting(
        "FLAGENT_CDC_REPLAY_LIMIT",
        COUNT,
        "100000",
        "Maximum number of changes read back from the change log, to replay events that are no longer in memory "
        "(beyond it, a resync) and for time travel (beyond it, 422).",
    )
    backfill_timeout_s: float = setting(
        "FLAGENT_CDC_BACKFILL_TIMEOUT",
        DURATION,
        "30m",
        "Maximum duration of a backfill of a watched table. Until it ends, PostgreSQL keeps rows deleted during it, "
        "and ALTER TABLE waits.",
    )
    stall_timeout_s: float = setting(
        "FLAGENT_CDC_STALL_TIMEOUT",
        DURATION,
        "60s",
        "A client that has read nothing of its stream for this long, or less than 64 KiB of an answer that waits for "
        "it, is disconnected.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionSettings:
    """How long the change log is kept."""

    max_age_s: float | None = setting(
        "FLAGENT_CDC_RETENTION_MAX_AGE",
        AGE,
        "7d",
        "Maximum age of commits in the change log; a client that resumes from an older one gets a resync. Commits "
        "younger than the owner's `prune --keep-at-least`, 10m by default, are always kept.",
    )
    max_bytes: int | None = setting(
        "FLAGENT_CDC_RETENTION_MAX_BYTES",
        LIMIT,
        "4GiB",
        "Approximate maximum size of the commits in the change log; the oldest are pruned first, but none younger than "
        "the owner's `prune --keep-at-least` (ten minutes by default), which wins. Files keep their free space.",
    )
    lane_max_bytes: int | None = setting(
        "FLAGENT_CDC_RETENTION_LANE_MAX_BYTES",
        LIMIT,
        "4GiB",
        "The same for the change log of each other lane; the maximum age applies to all lanes.",
    )
    prune_interval_s: float = setting(
        "FLAGENT_CDC_RETENTION_PRUNE_INTERVAL",
        DURATION,
        "1m",
        "Time between two checks whether the change log must be pruned.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExposureSettings:
    """Usage that clients report, when they evaluate flags themselves."""

    enabled: bool = setting(
        "FLAGENT_CDC_EXPOSURES",
        BOOLEAN,
        "false",
        "Take counts of variants at `POST /api/v1/exposures`, from credentials with the scope `expose`.",
    )
    retention_s: float | None = setting(
        "FLAGENT_CDC_EXPOSURES_RETENTION", AGE, "90d", "How long the counts are kept; at least a day."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSettings:
    """Limits on what clients may use."""

    handshakes_per_second: int = setting(
        "FLAGENT_CDC_HANDSHAKES_PER_SECOND",
        COUNT,
        "10000",
        "Maximum number of new streams per second; further ones wait.",
    )
    request_timeout_s: float = setting(
        "FLAGENT_CDC_REQUEST_TIMEOUT", DURATION, "10s", "Maximum time for a whole request to arrive."
    )
    max_connections: int | None = setting(
        "FLAGENT_CDC_MAX_CONNECTIONS",
        COUNT_OR_OFF,
        "25000",
        "Connections of any kind at the same time, for each worker; beyond it, 503.",
    )
    max_connections_per_client: int | None = setting(
        "FLAGENT_CDC_MAX_CONNECTIONS_PER_CLIENT",
        COUNT_OR_OFF,
        "2500",
        "The same for one client: an address, or an IPv6 network of 64 bits. Clients on this machine have no limit. A "
        "proxy counts as one client, unless it is one of `FLAGENT_CDC_TRUSTED_PROXIES`.",
    )
    requests_per_second: int | None = setting(
        "FLAGENT_CDC_REQUESTS_PER_SECOND",
        COUNT_OR_OFF,
        "off",
        "Requests that are answered per second, new streams and handshakes included, for each worker; beyond it, 429.",
    )
    requests_per_second_per_client: int | None = setting(
        "FLAGENT_CDC_REQUESTS_PER_SECOND_PER_CLIENT", COUNT_OR_OFF, "1000", "The same for one client."
    )
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = optional(
        "FLAGENT_CDC_TRUSTED_PROXIES",
        NETWORKS,
        "Proxies whose last entry in `X-Forwarded-For` is the client's address, and whose `X-Forwarded-Prefix` is the "
        "path under which they serve the server; these headers are ignored from any other peer.",
        default=(),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """The application log."""

    level: str = setting("FLAGENT_CDC_LOG_LEVEL", LEVEL, "info", "The least severe message that is logged.")
    format: str = setting(
        "FLAGENT_CDC_LOG_FORMAT", FORMAT, "text", "Log lines for people, or one JSON object per line."
    )
