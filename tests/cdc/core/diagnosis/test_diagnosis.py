"""Judgements that need a set-up that no test can make: another machine, another clock, an old server."""

import ast
import re
from dataclasses import replace
from pathlib import Path

import pytest

from cdc.core.diagnosis import (
    CertificateFacts,
    DatabaseFacts,
    Finding,
    Limits,
    MachineFacts,
    RelayFacts,
    RoleFacts,
    ServerFacts,
    Session,
    SnapshotFacts,
    State,
    StreamFacts,
    TierFacts,
    check_database,
    check_machine,
    check_server,
    check_tier,
    exit_code,
    function_in,
)
from cdc.database.queries import objects

ROOT = Path(__file__).parents[4]

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


def test_what_is_healthy_is_silent() -> None:
    findings = [*of_database(), *of_server(), *of_machine()]
    assert {finding.state for finding in findings} == {State.OK}
    assert exit_code(findings) == 0


@pytest.mark.parametrize(
    ("changes", "check", "words"),
    [
        ({"server_version": 130012}, "postgresql", "PostgreSQL 13 is too old"),
        ({"is_standby": True}, "primary", "sends no notifications"),
        ({"uses_tls": False}, "database_tls", "unencrypted"),
        ({"encoding": "LATIN1"}, "encoding", "encoding is LATIN1"),
        ({"receives_notifications": False}, "notifications", "did not reach another"),
        ({"clock_ahead_s": 7.0}, "database_clock", "7.0 s ahead of"),
        ({"clock_ahead_s": -7.0}, "database_clock", "7.0 s behind"),
        ({"queue_share": 0.8}, "queue", "80% full"),
        ({"connections": 95}, "connections", "95 of 100"),
    ],
)
def test_a_database_is_wrong(changes: dict[str, object], check: str, words: str) -> None:
    found = states(of_database(**changes))
    assert found.keys() == {check}
    assert words in found[check]


@pytest.mark.parametrize(
    ("changes", "check", "words"),
    [
        ({"server_version": 200001}, "postgresql", "newer than the tested versions"),
        ({"settings": {"synchronous_commit": "off"}}, "durability", "may roll back commits"),
        (
            {"queue_share": 0.2, "sessions": (Session(7, "ann", "psql", "idle in transaction", 9),)},
            "queue",
            "session 7",
        ),
        ({"event_triggers": ("guard",)}, "event_triggers", "guard"),
        ({"role": RoleFacts("ann", sees_sessions=False)}, "visibility", "cannot see other sessions"),
    ],
)
def test_what_is_worth_knowing_is_no_failure(changes: dict[str, object], check: str, words: str) -> None:
    findings = of_database(**changes)
    assert words in states(findings, State.NOTE)[check]
    assert exit_code(findings) == 0


@pytest.mark.parametrize(
    ("changes", "check", "words"),
    [
        ({"error": "refused"}, "reachable", "cannot be reached: refused"),
        ({"error": "self-signed", "error_is_tls": True}, "reachable", "TLS fails"),
        ({"version": None}, "server", "is not a flagent-cdc server"),
        ({"clock_ahead_s": -90.0}, "server_clock", "90 s behind"),
        ({"ready": False, "listener": "disconnected", "reason": "gone"}, "ready", "listener is disconnected: gone"),
        ({"listener": "polling", "reason": "a pool"}, "ready", "polls instead of listening: a pool"),
        ({"has_credential": False}, "open", "everyone who reaches"),
        ({"certificate_days": 3.0}, "server_certificate", "expires in 3 days"),
        ({"log_in_database": "another"}, "same_log", "has another"),
        ({"newest_in_database": 9}, "lag", "2 commits behind"),
        ({"websocket": "the upgrade is answered with 400"}, "websocket", "answered with 400"),
    ],
)
def test_a_server_is_wrong(changes: dict[str, object], check: str, words: str) -> None:
    found = states(of_server(**changes))
    assert found.keys() == {check}
    assert words in found[check]


@pytest.mark.parametrize(
    ("changes", "check", "words"),
    [
        ({"status": 502, "problem": "bad gateway"}, "stream", "answers 502: bad gateway"),
        ({"first_byte_s": None, "greets": False}, "buffering", "nothing of the stream arrives"),
        ({"first_byte_s": 4.0}, "buffering", "took 4.0 s"),
        ({"greets": False, "content_type": "text/html"}, "stream", "not a flagent-cdc event stream (text/html)"),
        ({"coding": "br"}, "compression", "arrives as br"),
        ({"gzip_works": False}, "compression", "does not arrive at once"),
        ({"cache_control": "max-age=60"}, "caching", "max-age=60"),
        ({"keep_alive": False}, "keep_alive", "do not arrive every 30 s"),
        ({"is_fresh": False}, "fresh", "cannot confirm"),
    ],
)
def test_a_stream_is_wrong(changes: dict[str, object], check: str, words: str) -> None:
    found = states(of_stream(**changes))
    assert found.keys() == {check}
    assert words in found[check]


def test_a_stream_that_asks_for_a_credential_could_not_be_looked_at() -> None:
    findings = of_stream(status=401, problem="credential_missing")
    assert "requires a credential" in states(findings, State.UNCHECKED)["stream"]
    assert exit_code(findings) == 2


@pytest.mark.parametrize(
    ("changes", "check", "words"),
    [
        ({"host": "0.0.0.0", "is_exposed": True}, "authentication", "does not start"),
        ({"is_exposed": True, "is_insecure": True}, "authentication", "everyone who reaches"),
        ({"requires_credentials": True, "keys_in_force": 0}, "keys", "all requests will be rejected"),
        ({"requires_credentials": True, "keys_in_force": 1, "keys_unreadable": ("fla_cdc_x",)}, "keys", "fla_cdc_x"),
        ({"jwks": "https://idp.example/keys", "jwks_error": "refused"}, "jwks", "refused"),
        ({"certificate": CertificateFacts("/tls.pem", error="no such file")}, "certificate", "no such file"),
        ({"certificate": CertificateFacts("/tls.pem", days=-1.0)}, "certificate", "has expired"),
        ({"certificate": CertificateFacts("/tls.pem", days=5.0)}, "certificate", "expires in 5 days"),
        ({"descriptors": 1024}, "descriptors", "1024 files"),
    ],
)
def test_a_machine_is_wrong(changes: dict[str, object], check: str, words: str) -> None:
    found = states(of_machine(**changes))
    assert found.keys() == {check}
    assert words in found[check]


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


def test_a_tier_as_it_should_be_is_fine() -> None:
    assert all(finding.state is State.OK for finding in check_tier(TIER, Limits()))


@pytest.mark.parametrize(
    ("changes", "check", "words"),
    [
        ({"log": None, "snapshot": None}, "nats_log", "holds no change log yet"),
        ({"relay": RelayFacts(1042, False, "the database is silent")}, "relay", "the database is silent"),
        ({"newest_in_database": 1050}, "relay_lag", "8 commits behind"),
        ({"relay": RelayFacts(1050, True), "newest_in_database": None}, "relay_lag", "8 commits behind"),
        ({"snapshot": SnapshotFacts("k7q2mx", 1040, 880, 900.0)}, "nats_snapshot", "900 s old and 2 commits behind"),
        ({"snapshot": SnapshotFacts("abcdef", 1042, 880, 1.0)}, "nats_snapshot", "of another change log, abcdef"),
        ({"snapshot": SnapshotFacts("k7q2mx", 1040, 400, 20.0)}, "nats_retention", "has dropped messages"),
        ({"max_age_s": 90.0}, "nats_retention", "keeps messages for 90 s"),
        ({"held_s": 30.0}, "nats_retention", "holds only the last 30 s"),
    ],
)
def test_a_tier_is_wrong(changes: dict[str, object], check: str, words: str) -> None:
    found = states(list(check_tier(replace(TIER, **changes), Limits())))  # type: ignore[arg-type]
    assert words in found.pop(check)
    assert found.keys() <= {"nats_snapshot"} if changes.get("log", "") is None else not found


def test_a_snapshot_may_be_old_where_nothing_has_changed_since() -> None:
    quiet = replace(TIER, snapshot=SnapshotFacts("k7q2mx", 1042, 900, age_s=1e6), first=901, held_s=None)
    assert states(list(check_tier(quiet, Limits()))) == {}


def test_a_stream_of_another_log_can_be_adopted() -> None:
    other = replace(TIER, log_in_database="abcdef", newest_in_database=3)
    (found,) = (finding for finding in check_tier(other, Limits()) if finding.state is State.ERROR)
    assert found.check == "nats_log"
    assert "abcdef" in found.text
    assert str(found.remedy).startswith("flagent-cdc relay --adopt k7q2mx ")


def test_a_stream_that_one_server_of_a_cluster_keeps_is_worth_knowing() -> None:
    notes = states(list(check_tier(replace(TIER, replicas=1), Limits())), State.NOTE)
    assert "although its cluster has more" in notes["nats_replicas"]


def test_tokens_for_anybody_are_worth_knowing() -> None:
    findings = of_machine(requires_credentials=True, verifies_tokens=True)
    assert "any audience" in states(findings, State.NOTE)["authentication"]


def test_the_manual_lists_every_check() -> None:
    manual = (ROOT / "docs/how-to/find-what-is-wrong.md").read_text(encoding="utf-8")
    listed = {name for line in manual.split("\n") if line.startswith("| `") for name in re.findall(r"`(\w+)`", line)}
    used: set[str] = set()
    for module in (*(ROOT / "cdc/core/diagnosis").glob("*.py"), ROOT / "cdc/cli/doctor.py"):
        for call in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or not call.args:
                continue
            first = call.args[0]
            makes_finding = call.func.id in ("ok", "note", "error", "unchecked", "Finding")
            if makes_finding and isinstance(first, ast.Constant):
                used.add(str(first.value))
    assert len(used) > 40
    assert used - {"a", "b"} <= listed


def test_every_function_that_is_shipped_can_be_compared() -> None:
    functions = [one for one in objects() if "create or replace function" in one.text]
    found = [function_in(one.text) for one in functions]
    assert None not in found
    assert {name for function in found if function for name in [function[0]]} == {one.name[4:] for one in functions}
