"""The input of the diagnosis. Durations are in seconds; None is what could not be read."""

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = [
    "CertificateFacts",
    "DatabaseFacts",
    "Function",
    "InstallationFacts",
    "KeyFacts",
    "LogFacts",
    "MachineFacts",
    "Prepared",
    "RoleFacts",
    "ServerFacts",
    "Session",
    "StreamFacts",
    "Trigger",
]


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger as in pg_trigger: `enabled` is O, D, R or A; `type` are its bits; `arguments` end with \\000 each."""

    schema: str
    table: str
    name: str
    function: str
    enabled: str
    type: int
    arguments: str = ""
    has_condition: bool = False


@dataclass(frozen=True, slots=True)
class Function:
    """An installed function; `may_log` is whether its owner may write the change log."""

    name: str
    body: str
    runs_as_owner: bool
    owner: str
    may_log: bool


@dataclass(frozen=True, slots=True)
class Session:
    """A session whose transaction has been open for `age_s`."""

    pid: int
    user: str
    application: str
    state: str
    age_s: float

    def __str__(self) -> str:
        named = f" ({self.application})" if self.application else ""
        return f"session {self.pid} of {self.user}{named}, {self.state} for {self.age_s:.0f} s"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A prepared transaction."""

    gid: str
    owner: str
    age_s: float


@dataclass(frozen=True, slots=True)
class RoleFacts:
    """The role that serves. `lacks` names rights as GRANT spells them; `filtered` are tables whose rows row level
    security hides from it. `sees_sessions`: whether it may see the sessions of other roles.
    """

    name: str
    lacks: tuple[str, ...] = ()
    filtered: tuple[str, ...] = ()
    sees_sessions: bool = True


@dataclass(frozen=True, slots=True)
class LogFacts:
    """The change log. `unpositioned` counts committed changes without a position. `position_sequence` is None if it may
    not be read, and 0 before its first use. `prunable_age_s` is the age of the oldest commit except the newest; the
    owner forbids pruning commits younger than `kept_age_s`. Of `size_bytes` the present commits need about
    `held_bytes`, None if that is unknown. `lanes` counts the lanes but the flags', `lane_log_bytes` and `lane_changes`
    are the size of their change logs together; everything else is about the flags' lane.
    """

    size_bytes: int
    rows: int
    oldest_age_s: float | None
    newest: int
    position_sequence: int | None
    duplicates: int
    backward: int
    unpositioned: int | None
    held_bytes: int | None = None
    prunable_age_s: float | None = None
    kept_age_s: float = 0.0
    lanes: int = 0
    lane_log_bytes: int = 0
    lane_changes: int = 0
    dead_rows: Mapping[str, int] = field(default_factory=dict)
    unvacuumed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InstallationFacts:
    """What is installed in schema flagent_cdc, and what this program would install (`revisions`, the newest last, and
    `shipped`: the body of each function, and whether it runs as its owner).

    `attachments` says for each schema whether it is attached or waits for its tables; `tables` are the existing tables
    of Flagent by schema. `watched` are the watched tables with the problems of each, None if they may not be read;
    `watched_relations` are those tables and their partitions. `owner` owns the schema flagent_cdc; `foreign_tables`
    are Flagent's tables that it may not alter, with the owner of each.
    """

    revision: str | None
    revisions: tuple[str, ...]
    functions: Mapping[str, Function]
    shipped: Mapping[str, tuple[str, bool]]
    triggers: tuple[Trigger, ...]
    attachments: Mapping[str, bool]
    tables: Mapping[str, frozenset[str]]
    wanted: tuple[str, ...]
    owner: str
    is_owner_superuser: bool = False
    foreign_tables: Mapping[str, str] = field(default_factory=dict)
    watched: Mapping[str, tuple[str, ...]] | None = field(default_factory=dict)
    watched_relations: frozenset[str] = frozenset()
    log: LogFacts | None = None


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """A database that answered. `target` is its URL without secrets.

    `receives_notifications`: whether a test notification arrived.
    """

    target: str
    server_version: int
    is_standby: bool
    is_local: bool
    uses_tls: bool
    encoding: str
    is_pooled: bool
    receives_notifications: bool
    clock_ahead_s: float
    queue_share: float
    connections: int
    max_connections: int
    settings: Mapping[str, str]
    role_settings: tuple[tuple[str, str], ...]
    role: RoleFacts
    sessions: tuple[Session, ...] = ()
    prepared: tuple[Prepared, ...] = ()
    event_triggers: tuple[str, ...] = ()
    installation: InstallationFacts | None = None


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """A certificate; `error` is why its files cannot be used, `days` the time until it expires."""

    path: str
    error: str | None = None
    days: float | None = None


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """An API key that is valid. `expires_days` is the time until it expires, None for never; `idle_days` the time since
    its last use, or since its uses are recorded."""

    prefix: str
    is_readable: bool = True
    expires_days: float | None = None
    idle_days: float = 0.0


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """This machine, and the settings that can contradict each other. `keys` None: the database was not read."""

    host: str
    is_exposed: bool
    requires_credentials: bool
    is_insecure: bool
    verifies_tokens: bool
    has_audience: bool
    allows_any_origin: bool
    workers: int
    max_connections: int
    descriptors: int
    certificate: CertificateFacts | None = None
    jwks: str | None = None
    jwks_error: str | None = None
    keys: tuple[KeyFacts, ...] | None = None


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """The event stream of a server. `first_byte_s` None: nothing arrived in time; `keep_alive` None: not checked.

    `position` and `log` are those of the `connected` event; `gzip_works`: whether a compressed stream arrived at once
    too.
    """

    status: int
    problem: str = ""
    first_byte_s: float | None = None
    greets: bool = False
    content_type: str = ""
    coding: str = ""
    cache_control: str = ""
    log: str = ""
    position: int | None = None
    is_fresh: bool = False
    heartbeat_s: float | None = None
    keep_alive: bool | None = None
    gzip_works: bool | None = None


@dataclass(frozen=True, slots=True)
class UnreadableFacts:
    """Rows of a table that a server could not deliver, of which the last is at `position`."""

    table: str
    reason: str
    count: int
    position: int


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """A server as its clients see it. `error` is why it cannot be reached.

    `unreadable` is known only with a credential that may read the status.

    `websocket` is why the upgrade failed, "" if it worked, None if it was not tried.
    """

    url: str
    is_exposed: bool
    error: str | None = None
    error_is_tls: bool = False
    version: str | None = None
    own_version: str = ""
    clock_ahead_s: float | None = None
    ready: bool | None = None
    listener: str | None = None
    reason: str = ""
    has_credential: bool = False
    stream: StreamFacts | None = None
    websocket: str | None = None
    certificate_days: float | None = None
    log_in_database: str | None = None
    newest_in_database: int | None = None
    unreadable: tuple[UnreadableFacts, ...] = ()


@dataclass(frozen=True, slots=True)
class SnapshotFacts:
    """The newest snapshot of a tier: nodes load it, then read the JetStream stream after `sequence`."""

    log: str
    position: int
    sequence: int
    age_s: float


@dataclass(frozen=True, slots=True)
class RelayFacts:
    """The answer of the active relay; `reason` is why it is not up to date, "" if it is."""

    position: int
    is_fresh: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class TierFacts:
    """NATS as a relay and nodes see it. `error` is why it cannot be reached.

    `differs` is None if there is no JetStream stream. The stream holds the messages `first` to `last`, the oldest for
    `held_s` seconds, None if it is empty; it ends at `position` of `log`. `relay` is None if no relay answers.
    """

    target: str
    stream: str
    error: str | None = None
    is_refused: bool = False
    differs: tuple[str, ...] | None = None
    replicas: int = 1
    servers: int = 1
    max_age_s: float = 0.0
    first: int = 1
    last: int = 0
    held_s: float | None = None
    log: str | None = None
    position: int = 0
    snapshot: SnapshotFacts | None = None
    snapshot_interval_s: float = 60.0
    relay: RelayFacts | None = None
    log_in_database: str | None = None
    newest_in_database: int | None = None
