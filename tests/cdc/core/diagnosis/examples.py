"""Facts of a healthy set-up, and what the checks find when some of them change."""

from dataclasses import replace

from cdc.core.diagnosis import (
    DatabaseFacts,
    Finding,
    Limits,
    LogFacts,
    MachineFacts,
    RelayFacts,
    RoleFacts,
    ServerFacts,
    SnapshotFacts,
    State,
    StreamFacts,
    TierFacts,
    check_database,
    check_machine,
    check_server,
)

LOG = LogFacts(
    size_bytes=10_000,
    rows=100,
    oldest_age_s=2 * 86_400.0,
    newest=42,
    position_sequence=42,
    duplicates=0,
    backward=0,
    unpositioned=0,
)

DATABASE = DatabaseFacts(
    target="postgresql://ann@db.example/flags",
    server_version=170002,
    is_standby=False,
    is_local=False,
    uses_tls=True,
    encoding="UTF8",
    is_pooled=False,
    receives_notifications=True,
    clock_ahead_s=0.01,
    queue_share=0.0,
    connections=5,
    max_connections=100,
    settings={"fsync": "on", "full_page_writes": "on", "idle_session_timeout": "0", "statement_timeout": "0"},
    role_settings=(),
    role=RoleFacts("ann"),
)

MACHINE = MachineFacts(
    host="127.0.0.1",
    is_exposed=False,
    requires_credentials=False,
    is_insecure=False,
    verifies_tokens=False,
    has_audience=False,
    allows_any_origin=False,
    workers=1,
    max_connections=1000,
    descriptors=4096,
)

STREAM = StreamFacts(
    status=200,
    first_byte_s=0.02,
    greets=True,
    content_type="text/event-stream",
    cache_control="no-cache, no-transform",
    log="k7q2mx",
    position=7,
    is_fresh=True,
    heartbeat_s=30.0,
    keep_alive=True,
    gzip_works=True,
)

SERVER = ServerFacts(
    url="https://flags.example",
    is_exposed=True,
    version="1.2.0",
    own_version="1.2.0",
    clock_ahead_s=0.2,
    ready=True,
    listener="listening",
    has_credential=True,
    stream=STREAM,
    websocket="",
    certificate_days=60.0,
    log_in_database="k7q2mx",
    newest_in_database=7,
)

TIER = TierFacts(
    target="nats://nats.example:4222",
    stream="flagent_cdc",
    differs=(),
    replicas=3,
    servers=3,
    max_age_s=86400.0,
    first=500,
    last=900,
    held_s=3600.0,
    log="k7q2mx",
    position=1042,
    snapshot=SnapshotFacts("k7q2mx", 1040, 880, age_s=20.0),
    relay=RelayFacts(1042, is_fresh=True),
    log_in_database="k7q2mx",
    newest_in_database=1042,
)


def states(findings: list[Finding], state: State = State.ERROR) -> dict[str, str]:
    found = {finding.check: finding.text for finding in findings if finding.state is state}
    assert state is not State.ERROR or all(f.remedy for f in findings if f.state is state)
    return found


def of_database(**changes: object) -> list[Finding]:
    return [f for f in check_database(replace(DATABASE, **changes), Limits()) if f.check != "installed"]  # type: ignore[arg-type]


def of_server(**changes: object) -> list[Finding]:
    return list(check_server(replace(SERVER, **changes), Limits()))  # type: ignore[arg-type]


def of_stream(**changes: object) -> list[Finding]:
    return of_server(stream=replace(STREAM, **changes))  # type: ignore[arg-type]


def of_machine(**changes: object) -> list[Finding]:
    return list(check_machine(replace(MACHINE, **changes), Limits()))  # type: ignore[arg-type]
