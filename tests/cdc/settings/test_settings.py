"""Settings: which values are read and rejected, and that the manual is current."""

from ipaddress import ip_network
from operator import attrgetter
from pathlib import Path

import pytest

from cdc.core.errors import InvalidInput
from cdc.core.subscription.grant import Grant
from cdc.settings.settings import Settings, reference, variables
from tests.cdc.settings.test_sections import P256_KEY

ROOT = Path(__file__).parents[3]


def test_without_a_database_the_embedded_one_is_meant() -> None:
    assert Settings.from_environment({}).database.url is None


def test_our_database_url_wins_over_flagents() -> None:
    flagent = {"FLAGENT_DB_DBCONNECTIONSTR": "jdbc:postgresql://db/flagent?user=u"}
    assert Settings.from_environment(flagent).database.url == "jdbc:postgresql://db/flagent?user=u"
    ours = {**flagent, "FLAGENT_CDC_DATABASE_URL": "postgresql://u@db/flagent"}
    assert Settings.from_environment(ours).database.url == "postgresql://u@db/flagent"


def test_a_database_url_that_cannot_be_one_names_its_variable() -> None:
    with pytest.raises(InvalidInput, match=r"^FLAGENT_DB_DBCONNECTIONSTR is no database URL"):
        Settings.from_environment({"FLAGENT_DB_DBCONNECTIONSTR": "flagent.sqlite"})
    both = {"FLAGENT_DB_DBCONNECTIONSTR": "flagent.sqlite", "FLAGENT_CDC_DATABASE_URL": "postgresql://h/d"}
    assert Settings.from_environment(both).database.url == "postgresql://h/d"


def test_every_variable_reaches_its_field() -> None:
    written = {
        "listen.host": ("::1", "::1"),
        "listen.port": ("0", 0),
        "listen.insecure": ("yes", True),
        "auth.enabled": ("true", True),
        "auth.open_realtime": ("true", True),
        "auth.cookie": ("session", "session"),
        "auth.jwt_secret": ("s" * 32, "s" * 32),
        "auth.jwt_public_key": (P256_KEY, P256_KEY),
        "auth.jwt_jwks": ("https://id.example.com/jwks", "https://id.example.com/jwks"),
        "auth.jwt_audience": ("flags", "flags"),
        "auth.jwt_issuer": ("https://id.example.com", "https://id.example.com"),
        "auth.jwt_claim": ("scopes", "scopes"),
        "auth.jwt_default_scopes": ('{"flags": ["web-*"]}', Grant(flags=frozenset({"web-*"}))),
        "web.cors_origins": (
            "https://a.example.com,http://localhost:3000",
            ("https://a.example.com", "http://localhost:3000"),
        ),
        "web.allowed_hosts": ("Flags.example.com, [::1]", ("flags.example.com", "[::1]")),
        "web.path_prefix": ("/flags", "/flags"),
        "listen.workers": ("4", 4),
        "websocket.enabled": ("FALSE", False),
        "websocket.path": ("/live/ws", "/live/ws"),
        "websocket.ping_interval_s": ("500ms", 0.5),
        "websocket.max_connections": ("7", 7),
        "sse.enabled": ("off", False),
        "sse.path": ("/stream", "/stream"),
        "sse.keep_alive_s": ("15000", 15.0),
        "sse.max_clients": ("8", 8),
        "database.url": ("postgresql://h/d", "postgresql://h/d"),
        "limits.handshakes_per_second": ("500", 500),
        "auth.stream_token_secret": ("t" * 32, "t" * 32),
        "nats.source": ("nats://a,nats://b", "nats://a,nats://b"),
        "nats.url": ("tls://a:4222", "tls://a:4222"),
        "nats.stream": ("flags-1", "flags-1"),
        "nats.replicas": ("3", 3),
        "nats.max_age_s": ("7d", 604_800.0),
        "nats.max_bytes": ("4GiB", 2**32),
        "nats.snapshot_interval_s": ("10m", 600.0),
        "nats.user": ("ann", "ann"),
        "nats.password": ("secret", "secret"),
        "nats.token": ("token", "token"),
        "nats.credentials": (str(ROOT / "LICENSE"), ROOT / "LICENSE"),
        "nats.nkey": (str(ROOT / "LICENSE"), ROOT / "LICENSE"),
        "nats.adopt": ("k7q2mx", "k7q2mx"),
        "nats.tls_ca": (str(ROOT / "LICENSE"), ROOT / "LICENSE"),
        "nats.tls_cert": (str(ROOT / "LICENSE"), ROOT / "LICENSE"),
        "nats.tls_key": (str(ROOT / "LICENSE"), ROOT / "LICENSE"),
        "web.page_enabled": ("false", False),
        "web.metrics_enabled": ("false", False),
        "web.traces_enabled": ("true", True),
        "limits.request_timeout_s": ("5s", 5.0),
        "limits.max_connections": ("off", None),
        "limits.max_connections_per_client": ("100", 100),
        "limits.requests_per_second": ("5000", 5000),
        "limits.requests_per_second_per_client": ("50", 50),
        "limits.trusted_proxies": ("10.0.0.0/8, ::1", (ip_network("10.0.0.0/8"), ip_network("::1"))),
        "listen.tls_cert": (str(ROOT / "LICENSE"), ROOT / "LICENSE"),
        "listen.tls_key": (str(ROOT / "README.md"), ROOT / "README.md"),
        "database.data_dir": ("/var/lib/flags", Path("/var/lib/flags")),
        "database.schemas": ("public, tenant_1", ("public", "tenant_1")),
        "listener.probe_interval_s": ("2s", 2.0),
        "listener.poll_interval_s": ("100ms", 0.1),
        "pipeline.ring_events": ("50", 50),
        "pipeline.ring_bytes": ("1MiB", 2**20),
        "pipeline.max_flag_bytes": ("2MiB", 2**21),
        "pipeline.replay_limit": ("9", 9),
        "retention.max_age_s": ("30d", 2_592_000.0),
        "retention.max_bytes": ("off", None),
        "retention.lane_max_bytes": ("2GiB", 2 * 1024**3),
        "retention.prune_interval_s": ("10s", 10.0),
        "exposures.enabled": ("on", True),
        "exposures.retention_s": ("7d", 604_800.0),
        "pipeline.backfill_timeout_s": ("5m", 300.0),
        "pipeline.stall_timeout_s": ("1m", 60.0),
        "listener.coalesce_window_s": ("5", 0.005),
        "log.level": ("DEBUG", "debug"),
        "log.format": ("json", "json"),
    }
    known = variables()
    assert written.keys() == known.keys()
    settings = Settings.from_environment({known[name].name: text for name, (text, _) in written.items()})
    found = {name: attrgetter(name)(settings) for name in written}
    assert found == {name: value for name, (_, value) in written.items()}


def test_an_empty_value_counts_as_unset() -> None:
    assert Settings.from_environment({"FLAGENT_WS_PORT": " ", "FLAGENT_CDC_DATABASE_URL": ""}) == (
        Settings.from_environment({})
    )


@pytest.mark.parametrize(
    ("name", "text", "allowed"),
    [
        ("FLAGENT_WS_PORT", "70000", "a port number from 0 to 65535"),
        ("FLAGENT_WS_PING_INTERVAL", "30 seconds", "a duration such as 30s"),
        ("FLAGENT_SSE_KEEP_ALIVE", "0s", "a duration such as 30s"),
        ("FLAGENT_SSE_ENABLED", "maybe", "true or false"),
        ("FLAGENT_SSE_PATH", "stream", "a path such as /ws"),
        ("FLAGENT_CDC_RING_BYTES", "64 megs", "a size in bytes such as"),
        ("FLAGENT_CDC_AUTH_JWT_PUBLIC_KEY", "/no/such/file", "or P-256 public key in PEM"),
        ("FLAGENT_CDC_AUTH_JWT_JWKS", "http://id.example.com/jwks", "begins with https://"),
        ("FLAGENT_CDC_AUTH_JWT_DEFAULT_SCOPES", '{"flogs": []}', "scopes as JSON"),
        ("FLAGENT_CDC_ALLOWED_HOSTS", "flags.example.com:80", "names without a port"),
        ("FLAGENT_CDC_CORS_ORIGINS", "app.example.com", "origins separated by commas"),
        ("FLAGENT_CDC_CORS_ORIGINS", "https://a.example.com/path", "origins separated by commas"),
        ("FLAGENT_CDC_SCHEMAS", "public,,", "different names separated by commas"),
        ("FLAGENT_CDC_SCHEMAS", "public,public", "different names separated by commas"),
        ("FLAGENT_CDC_LOG_LEVEL", "loud", "one of debug, info, warning, error"),
        ("FLAGENT_CDC_WORKERS", "0", "a whole number from 1 to 256"),
    ],
)
def test_a_bad_value_names_variable_value_and_format(name: str, text: str, allowed: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Settings.from_environment({name: text})
    assert caught.value.name == name
    assert caught.value.code == "invalid_setting"
    for part in (name, repr(text), allowed):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("FLAGENT_CDC_SCHEMA", "FLAGENT_CDC_SCHEMAS"),
        ("FLAGENT_CDC_PORT", "FLAGENT_WS_PORT"),
        ("FLAGENT_CDC_KEEPALIVE", "FLAGENT_SSE_KEEP_ALIVE"),
        ("FLAGENT_CDC_DB_URL", "FLAGENT_CDC_DATABASE_URL"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_known_one(name: str, near: str) -> None:
    with pytest.raises(InvalidInput, match=rf"^{name} is not a setting; did you mean {near}\?$") as caught:
        Settings.from_environment({name: "x"})
    assert caught.value.code == "unknown_setting"


def test_variables_of_the_tests_and_of_flagent_itself_pass() -> None:
    Settings.from_environment({"FLAGENT_CDC_TEST_DATABASE_URL": "x", "FLAGENT_EVAL_ONLY_MODE": "x", "FLAGENTX": "x"})


def test_the_manual_is_current() -> None:
    """`python -m cdc.settings.settings > docs/reference/settings.md` brings it up to date."""
    assert (ROOT / "docs/reference/settings.md").read_text(encoding="utf-8") == reference()
