"""What the outside may choose, read once from the environment and passed down; nothing reads the environment later.

Each field of `Settings` carries its variable, its form and one sentence; `reference()` prints the manual's table from
them (`python -m cdc.settings.settings > docs/reference/settings.md`).

Variables of `FLAGENT_WS_…` and `FLAGENT_SSE_…` are Flagent's announced ones and keep its names and defaults; all others
begin with `FLAGENT_CDC_`, and one that is not known is refused, so that a misspelt name cannot pass for a default.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, Self

from cdc.auth.json_web_token import JwtRules
from cdc.core.errors import InvalidInput
from cdc.core.subscription.grant import Grant
from cdc.database.database_url import read_database_url
from cdc.settings.value_formats import (
    AGE,
    BOOLEAN,
    COUNT,
    COUNT_OR_OFF,
    DATABASE_URL,
    DIRECTORY,
    DURATION,
    FILE,
    FORMAT,
    JWKS,
    LEVEL,
    LIMIT,
    NAMES,
    NATS_URL,
    NETWORKS,
    ORIGINS,
    PORT,
    PUBLIC_KEY,
    REPLICAS,
    SCOPES,
    SECRET,
    SIZE,
    STREAM,
    TEXT,
    URL_PATH,
    WORKERS,
    ValueFormat,
)

__all__ = ["Settings", "Variable", "read", "reference", "variables_by_field"]

OWN_PREFIX = "FLAGENT_CDC_"
TEST_PREFIX = "FLAGENT_CDC_TEST_"
FLAGENT_DATABASE = "FLAGENT_DB_DBCONNECTIONSTR"


@dataclass(frozen=True, slots=True)
class Variable:
    """Where a field comes from: `written` is its default as one would write it, a `secret` value is never shown."""

    name: str
    form: ValueFormat
    written: str
    text: str
    secret: bool = False


def _setting(name: str, form: ValueFormat, written: str, text: str) -> Any:
    return field(default=form.parse(written), metadata={"variable": Variable(name, form, written, text)})


def _optional(name: str, form: ValueFormat, text: str, *, secret: bool = False) -> Any:
    """A setting that is None when unset."""
    return field(default=None, repr=not secret, metadata={"variable": Variable(name, form, "", text, secret)})


_DEFAULT_SCOPES = Variable(
    "FLAGENT_CDC_AUTH_JWT_DEFAULT_SCOPES",
    SCOPES,
    "",
    "The scopes of a token without that claim; when unset, it is refused.",
)
_CORS_ORIGINS = Variable(
    "FLAGENT_CDC_CORS_ORIGINS",
    ORIGINS,
    "",
    "Pages that may read answers and open WebSockets from a browser; `*` is any, but without cookies. Pages of this "
    "machine may where no credentials are asked for.",
)
_TRUSTED_PROXIES = Variable(
    "FLAGENT_CDC_TRUSTED_PROXIES",
    NETWORKS,
    "",
    "Proxies that say at the end of `X-Forwarded-For` whom they speak for; nobody else is believed.",
)
_DATABASE = Variable(
    "FLAGENT_CDC_DATABASE_URL",
    DATABASE_URL,
    "",
    f"The database to watch. When unset, Flagent's own `{FLAGENT_DATABASE}` (also as `jdbc:postgresql://…`); when "
    "neither is set, an embedded PostgreSQL.",
    secret=True,
)
_DATA_DIR = Variable(
    "FLAGENT_CDC_DATA_DIR",
    DIRECTORY,
    "",
    "Where the embedded PostgreSQL keeps its data. When unset, `$XDG_DATA_HOME/flagent-cdc/postgres`, else "
    "`~/.local/share/flagent-cdc/postgres`; for root `/var/lib/flagent-cdc/postgres`.",
)

_NATS_CREDENTIALS = Variable(
    "FLAGENT_CDC_NATS_CREDENTIALS", FILE, "", "Logs in to NATS by a `.creds` file (JWT and nkey seed)."
)
_NATS_NKEY = Variable("FLAGENT_CDC_NATS_NKEY", FILE, "", "Logs in to NATS by a file with an nkey seed.")
_NATS_TLS_CA = Variable(
    "FLAGENT_CDC_NATS_TLS_CA", FILE, "", "Whose certificates NATS servers must have (PEM); asks for TLS."
)
_NATS_TLS_KEY = Variable("FLAGENT_CDC_NATS_TLS_KEY", FILE, "", "Its private key (PEM).")
_NATS_TLS_CERT = Variable("FLAGENT_CDC_NATS_TLS_CERT", FILE, "", "Our own certificate for NATS (PEM).")
_TLS_CERT = Variable("FLAGENT_CDC_TLS_CERT", FILE, "", "The certificate chain (PEM); with it the server speaks TLS.")
_TLS_KEY = Variable("FLAGENT_CDC_TLS_KEY", FILE, "", "The certificate's private key (PEM).")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be chosen. Durations are in seconds, sizes in bytes."""

    host: str = _setting("FLAGENT_CDC_HOST", TEXT, "127.0.0.1", "The address the server listens on.")
    port: int = _setting("FLAGENT_WS_PORT", PORT, "8080", "The server's port, for all of HTTP, SSE and WebSocket.")
    insecure: bool = _setting(
        "FLAGENT_CDC_INSECURE", BOOLEAN, "false", "Allow an address that other machines reach, without any credentials."
    )
    auth_enabled: bool = _setting(
        "FLAGENT_CDC_AUTH_ENABLED",
        BOOLEAN,
        "false",
        "Ask everyone for a credential: an API key (`flagent-cdc keys`), or a JSON Web Token where it can be verified.",
    )
    auth_open_realtime: bool = _setting(
        "FLAGENT_CDC_AUTH_OPEN_REALTIME",
        BOOLEAN,
        "false",
        "Leave Flagent's own realtime stream and its export open to all: present clients send no credentials there.",
    )
    auth_cookie: str = _setting(
        "FLAGENT_CDC_AUTH_COOKIE", TEXT, "access_token", "The cookie that may carry a credential."
    )
    auth_stream_token_secret: str | None = _optional(
        "FLAGENT_CDC_AUTH_STREAM_TOKEN_SECRET",
        SECRET,
        "Signs the stream tokens of nodes that are fed by NATS; give all of them the same. When unset, a token is good "
        "on the machine that gave it, until its server ends. Nodes at PostgreSQL share a secret there.",
        secret=True,
    )
    auth_jwt_secret: str | None = _optional(
        "FLAGENT_CDC_AUTH_JWT_SECRET", SECRET, "Verifies tokens of HS256 and HS512. Asks for credentials.", secret=True
    )
    auth_jwt_public_key: str | None = _optional(
        "FLAGENT_CDC_AUTH_JWT_PUBLIC_KEY", PUBLIC_KEY, "Verifies tokens of RS256 or ES256. Asks for credentials."
    )
    auth_jwt_jwks: str | None = _optional(
        "FLAGENT_CDC_AUTH_JWT_JWKS",
        JWKS,
        "A JWK Set whose keys verify tokens of RS256 and ES256, read again every ten minutes and when a token names a "
        "key that is not in it. Asks for credentials.",
    )
    auth_jwt_audience: str | None = _optional(
        "FLAGENT_CDC_AUTH_JWT_AUDIENCE", TEXT, "The `aud` of a token; when unset, a token with one is refused."
    )
    auth_jwt_issuer: str | None = _optional("FLAGENT_CDC_AUTH_JWT_ISSUER", TEXT, "The `iss` of a token.")
    auth_jwt_claim: str = _setting(
        "FLAGENT_CDC_AUTH_JWT_CLAIM", TEXT, "flagent_cdc", "The claim with the scopes, written as those of an API key."
    )
    auth_jwt_default_scopes: Grant | None = field(default=None, metadata={"variable": _DEFAULT_SCOPES})
    cors_origins: tuple[str, ...] = field(default=(), metadata={"variable": _CORS_ORIGINS})
    workers: int = _setting("FLAGENT_CDC_WORKERS", WORKERS, "1", "Processes that share the port.")
    ws_enabled: bool = _setting("FLAGENT_WS_ENABLED", BOOLEAN, "true", "Whether there is a WebSocket.")
    ws_path: str = _setting("FLAGENT_WS_PATH", URL_PATH, "/ws", "Its path.")
    ws_ping_interval_s: float = _setting(
        "FLAGENT_WS_PING_INTERVAL", DURATION, "30s", "Time between two heartbeats and protocol pings."
    )
    ws_max_connections: int = _setting(
        "FLAGENT_WS_MAX_CONNECTIONS", COUNT, "10000", "WebSockets at the same time; beyond it, 503 with Retry-After."
    )
    sse_enabled: bool = _setting("FLAGENT_SSE_ENABLED", BOOLEAN, "true", "Whether there is an event stream (SSE).")
    sse_path: str = _setting("FLAGENT_SSE_PATH", URL_PATH, "/api/v1/events/stream", "Its path.")
    sse_keep_alive_s: float = _setting("FLAGENT_SSE_KEEP_ALIVE", DURATION, "30s", "Time between two keep-alives.")
    sse_max_clients: int = _setting(
        "FLAGENT_SSE_MAX_CLIENTS", COUNT, "10000", "Event streams at the same time; beyond it, 503 with Retry-After."
    )
    page_enabled: bool = _setting(
        "FLAGENT_CDC_PAGE_ENABLED", BOOLEAN, "true", "Whether there is a page at `/`: live flags, events, evaluation."
    )
    metrics_enabled: bool = _setting(
        "FLAGENT_CDC_METRICS_ENABLED",
        BOOLEAN,
        "true",
        "Whether there are numbers for Prometheus at `/metrics`, for credentials with the right `admin`.",
    )
    traces_enabled: bool = _setting(
        "FLAGENT_CDC_TRACES_ENABLED",
        BOOLEAN,
        "false",
        "Send OpenTelemetry traces to where `OTEL_EXPORTER_OTLP_ENDPOINT` says; needs the package `flagent-cdc[otel]`.",
    )
    database_url: str | None = field(default=None, metadata={"variable": _DATABASE})
    data_dir: Path | None = field(default=None, metadata={"variable": _DATA_DIR})
    schemas: tuple[str, ...] = _setting(
        "FLAGENT_CDC_SCHEMAS", NAMES, "public", "The schemas with Flagent's tables, one for each tenant."
    )
    probe_interval_s: float = _setting(
        "FLAGENT_CDC_PROBE_INTERVAL", DURATION, "5s", "Time between two proofs that the listener still hears."
    )
    poll_interval_s: float = _setting(
        "FLAGENT_CDC_POLL_INTERVAL", DURATION, "1s", "Time between two looks into the log while notifications fail."
    )
    ring_events: int = _setting(
        "FLAGENT_CDC_RING_EVENTS", COUNT, "100000", "Latest events kept in memory for subscribers that come back."
    )
    ring_bytes: int = _setting("FLAGENT_CDC_RING_BYTES", SIZE, "64MiB", "The same, in bytes; the smaller limit counts.")
    replay_limit: int = _setting(
        "FLAGENT_CDC_REPLAY_LIMIT",
        COUNT,
        "100000",
        "Most changes read back from the log, to replay events that memory no longer holds (beyond it, a resync) and "
        "to answer about the past (beyond it, 422).",
    )
    log_max_age_s: float | None = _setting(
        "FLAGENT_CDC_LOG_MAX_AGE",
        AGE,
        "7d",
        "Commits that are older are pruned from the log; who comes back later "
        "gets a resync. What is younger than the owner's `prune --keep-at-least`, 10m unless changed, always stays.",
    )
    log_max_bytes: int | None = _setting(
        "FLAGENT_CDC_LOG_MAX_BYTES", LIMIT, "4GiB", "The oldest commits are pruned from a log that takes more, about."
    )
    stream_log_max_bytes: int | None = _setting(
        "FLAGENT_CDC_STREAM_LOG_MAX_BYTES",
        LIMIT,
        "4GiB",
        "The same for each stream that watched tables have of their own; the age counts for all.",
    )
    log_prune_interval_s: float = _setting(
        "FLAGENT_CDC_LOG_PRUNE_INTERVAL", DURATION, "1m", "Time between two looks whether the log must be pruned."
    )
    backfill_timeout_s: float = _setting(
        "FLAGENT_CDC_BACKFILL_TIMEOUT",
        DURATION,
        "30m",
        "How long the reading of a watched table may take. Until its end PostgreSQL keeps what was deleted since its "
        "beginning, and ALTER TABLE waits.",
    )
    stall_timeout_s: float = _setting(
        "FLAGENT_CDC_STALL_TIMEOUT", DURATION, "60s", "A subscriber that has read nothing for this long is cut."
    )
    gather_window_s: float = _setting(
        "FLAGENT_CDC_GATHER_WINDOW",
        DURATION,
        "2ms",
        "How long commits wait to go out together while the server is busy; an idle server never waits.",
    )
    handshakes_per_second: int = _setting(
        "FLAGENT_CDC_HANDSHAKES_PER_SECOND",
        COUNT,
        "10000",
        "New streams begun per second at most; those beyond it wait their turn.",
    )
    source: str | None = _optional(
        "FLAGENT_CDC_SOURCE",
        NATS_URL,
        "Feeds this server from NATS JetStream, where a relay copies the log, instead of from a database.",
        secret=True,
    )
    nats_url: str | None = _optional(
        "FLAGENT_CDC_NATS_URL", NATS_URL, "The NATS servers that the relay copies the log to.", secret=True
    )
    nats_stream: str = _setting(
        "FLAGENT_CDC_NATS_STREAM",
        STREAM,
        "flagent_cdc",
        "The stream's name, with which all subjects and buckets begin; one for each database.",
    )
    nats_replicas: int = _setting(
        "FLAGENT_CDC_NATS_REPLICAS", REPLICAS, "1", "NATS servers that keep a copy of the stream; 3 for a cluster."
    )
    nats_max_age_s: float | None = _setting(
        "FLAGENT_CDC_NATS_MAX_AGE", AGE, "24h", "How long the stream keeps commits for replays."
    )
    nats_max_bytes: int = _setting("FLAGENT_CDC_NATS_MAX_BYTES", SIZE, "1GiB", "The most it keeps, in bytes.")
    nats_snapshot_interval_s: float = _setting(
        "FLAGENT_CDC_NATS_SNAPSHOT_INTERVAL", DURATION, "1m", "Time between two snapshots, while something changes."
    )
    nats_adopt: str | None = _optional(
        "FLAGENT_CDC_NATS_ADOPT",
        TEXT,
        "The log that the relay may replace in the stream, as its refusal names it; any other one it leaves alone.",
    )
    nats_user: str | None = _optional("FLAGENT_CDC_NATS_USER", TEXT, "Logs in to NATS, with the password.")
    nats_password: str | None = _optional("FLAGENT_CDC_NATS_PASSWORD", TEXT, "Its password.", secret=True)
    nats_token: str | None = _optional("FLAGENT_CDC_NATS_TOKEN", TEXT, "Logs in to NATS by a token.", secret=True)
    nats_credentials: Path | None = field(default=None, metadata={"variable": _NATS_CREDENTIALS})
    nats_nkey: Path | None = field(default=None, metadata={"variable": _NATS_NKEY})
    nats_tls_ca: Path | None = field(default=None, metadata={"variable": _NATS_TLS_CA})
    nats_tls_cert: Path | None = field(default=None, metadata={"variable": _NATS_TLS_CERT})
    nats_tls_key: Path | None = field(default=None, metadata={"variable": _NATS_TLS_KEY})
    request_timeout_s: float = _setting(
        "FLAGENT_CDC_REQUEST_TIMEOUT", DURATION, "10s", "Time in which a whole request must have arrived."
    )
    max_connections: int | None = _setting(
        "FLAGENT_CDC_MAX_CONNECTIONS",
        COUNT_OR_OFF,
        "25000",
        "Connections of any kind at the same time, for each worker; beyond it, 503.",
    )
    max_connections_per_client: int | None = _setting(
        "FLAGENT_CDC_MAX_CONNECTIONS_PER_CLIENT",
        COUNT_OR_OFF,
        "2500",
        "The same from one client: an address, or an IPv6 network of 64 bits. Those of this machine have no limit. A "
        "proxy is one client, unless `FLAGENT_CDC_TRUSTED_PROXIES` has it.",
    )
    requests_per_second: int | None = _setting(
        "FLAGENT_CDC_REQUESTS_PER_SECOND",
        COUNT_OR_OFF,
        "off",
        "Requests other than for streams that are answered per second, for each worker; beyond it, 429.",
    )
    requests_per_second_per_client: int | None = _setting(
        "FLAGENT_CDC_REQUESTS_PER_SECOND_PER_CLIENT", COUNT_OR_OFF, "1000", "The same from one client."
    )
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = field(default=(), metadata={"variable": _TRUSTED_PROXIES})
    tls_cert: Path | None = field(default=None, metadata={"variable": _TLS_CERT})
    tls_key: Path | None = field(default=None, metadata={"variable": _TLS_KEY})
    log_level: str = _setting("FLAGENT_CDC_LOG_LEVEL", LEVEL, "info", "The least severe message that is logged.")
    log_format: str = _setting(
        "FLAGENT_CDC_LOG_FORMAT", FORMAT, "text", "Log lines for people, or one JSON object each."
    )

    @property
    def asks_for_credentials(self) -> bool:
        """Also where a way to verify them was given and the switch forgotten: that must not leave the door open."""
        ways = (self.auth_jwt_secret, self.auth_jwt_public_key, self.auth_jwt_jwks)
        return self.auth_enabled or any(way is not None for way in ways)

    @property
    def jwt_rules(self) -> JwtRules:
        return JwtRules(self.auth_jwt_audience, self.auth_jwt_issuer, self.auth_jwt_claim, self.auth_jwt_default_scopes)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read every variable once; an empty value counts as unset.

        Raises `InvalidInput` that names the variable, its value and what is allowed.
        """
        variables = variables_by_field()
        _refuse_unknown(environment, {variable.name for variable in variables.values()})
        values: dict[str, Any] = {}
        for name, variable in variables.items():
            if text := environment.get(variable.name, "").strip():
                values[name] = read(variable, text)
        for name in (_DATABASE.name, FLAGENT_DATABASE):
            if text := environment.get(name, "").strip():
                # Only looked at: what it says stays as it was written, for people who look it up.
                read_database_url(text, name=name)
                values["database_url"] = text
                break
        return cls(**values)


def variables_by_field() -> dict[str, Variable]:
    """Each field of `Settings` and the variable it is read from, in the order of the manual."""
    return {each.name: each.metadata["variable"] for each in fields(Settings)}


def read(variable: Variable, text: str) -> Any:
    """The value that `text` writes; raises `InvalidInput`."""
    try:
        return variable.form.parse(text)
    except ValueError as error:
        shown = "this value" if variable.secret else repr(text)
        raise InvalidInput(
            f"{variable.name} must be {variable.form.form}; {shown} is not", name=variable.name, code="invalid_setting"
        ) from error


def _refuse_unknown(environment: Mapping[str, str], known: set[str]) -> None:
    # Compared without the prefix, so that FLAGENT_CDC_PORT leads to FLAGENT_WS_PORT.
    stems = {name.split("_", 2)[2]: name for name in sorted(known)}
    for name in sorted(environment):
        if name.startswith(OWN_PREFIX) and not name.startswith(TEST_PREFIX) and name not in known:
            near = difflib.get_close_matches(name.removeprefix(OWN_PREFIX), stems, n=1, cutoff=0.0)[0]
            raise InvalidInput(
                f"{name} is not a setting; did you mean {stems[near]}?", name=name, code="unknown_setting"
            )


def reference() -> str:
    """The manual's page of settings."""
    lines = [
        "# Settings",
        "",
        "Environment variables, read once at the start. A bad value, and an unknown name that begins with",
        "`FLAGENT_CDC_`, stop the command with one sentence and exit code 2. Options of the command line win.",
        "Durations are written `30s`, `500ms`, `2m`, `1h`; a bare number is milliseconds.",
        "",
        "| variable | default | form | meaning |",
        "|---|---|---|---|",
    ]
    for variable in variables_by_field().values():
        default = f"`{variable.written}`" if variable.written else "unset"
        lines.append(f"| `{variable.name}` | {default} | {variable.form.form} | {variable.text} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    import sys

    sys.stdout.write(reference())
