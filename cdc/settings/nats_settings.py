"""The section of the settings for NATS JetStream; it is used by the relay and by nodes that read from NATS."""

from dataclasses import dataclass
from pathlib import Path

from .value_formats import AGE, DURATION, FILE, NATS_URL, REPLICAS, SIZE, STREAM, TEXT
from .variable import optional, setting

__all__ = ["NatsSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsSettings:
    """NATS JetStream, which the relay writes and nodes of the tier read."""

    source: str | None = optional(
        "FLAGENT_CDC_SOURCE",
        NATS_URL,
        "Reads commits from NATS JetStream, where a relay copies the change log, instead of from a database.",
        secret=True,
    )
    url: str | None = optional(
        "FLAGENT_CDC_NATS_URL", NATS_URL, "The NATS servers that the relay copies the change log to.", secret=True
    )
    stream: str = setting(
        "FLAGENT_CDC_NATS_STREAM",
        STREAM,
        "flagent_cdc",
        "Name of the JetStream stream, and prefix of all subjects and buckets; one for each database.",
    )
    replicas: int = setting(
        "FLAGENT_CDC_NATS_REPLICAS",
        REPLICAS,
        "1",
        "NATS servers that keep a copy of the JetStream stream; 3 for a cluster.",
    )
    max_age_s: float | None = setting(
        "FLAGENT_CDC_NATS_MAX_AGE", AGE, "24h", "How long the JetStream stream keeps commits for replays."
    )
    max_bytes: int = setting("FLAGENT_CDC_NATS_MAX_BYTES", SIZE, "1GiB", "Maximum size of the JetStream stream.")
    snapshot_interval_s: float = setting(
        "FLAGENT_CDC_NATS_SNAPSHOT_INTERVAL", DURATION, "1m", "Time between two snapshots, while something changes."
    )
    adopt: str | None = optional(
        "FLAGENT_CDC_NATS_ADOPT",
        TEXT,
        "The log that the relay may replace in the JetStream stream, as its error names it; it replaces no other one.",
    )
    user: str | None = optional("FLAGENT_CDC_NATS_USER", TEXT, "Logs in to NATS, with the password.")
    password: str | None = optional("FLAGENT_CDC_NATS_PASSWORD", TEXT, "Its password.", secret=True)
    token: str | None = optional("FLAGENT_CDC_NATS_TOKEN", TEXT, "Logs in to NATS by a token.", secret=True)
    credentials: Path | None = optional(
        "FLAGENT_CDC_NATS_CREDENTIALS", FILE, "Logs in to NATS by a `.creds` file (JWT and nkey seed)."
    )
    nkey: Path | None = optional("FLAGENT_CDC_NATS_NKEY", FILE, "Logs in to NATS by a file with an nkey seed.")
    tls_ca: Path | None = optional(
        "FLAGENT_CDC_NATS_TLS_CA", FILE, "The certificate authority of the NATS servers (PEM); turns TLS on."
    )
    tls_cert: Path | None = optional("FLAGENT_CDC_NATS_TLS_CERT", FILE, "The client certificate for NATS (PEM).")
    tls_key: Path | None = optional("FLAGENT_CDC_NATS_TLS_KEY", FILE, "Its private key (PEM).")
