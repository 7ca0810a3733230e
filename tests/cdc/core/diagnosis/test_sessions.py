import pytest

from cdc.core.diagnosis import RoleFacts, Session, State, exit_code

from .examples import of_database, states


@pytest.mark.parametrize(
    ("changes", "check", "words"),
    [
        ({"server_version": 130012}, "postgresql", "PostgreSQL 13 is too old"),
        ({"is_standby": True}, "primary", "sends no notifications"),
        ({"uses_tls": False}, "database_tls", "unencrypted"),
        (
            {"is_pooled": True, "settings": {"idle_session_timeout": "5000"}},
            "idle_session_timeout",
            "disconnects the idle listener",
        ),
        ({"receives_notifications": False}, "notifications", "did not reach another"),
        ({"clock_ahead_s": 7.0}, "database_clock", "7.0 s ahead of"),
        ({"clock_ahead_s": -7.0}, "database_clock", "7.0 s behind"),
        ({"queue_share": 0.8}, "queue", "80% full"),
        ({"connections": 95}, "connections", "95 of 100"),
    ],
)
def test_a_database_is_broken(changes: dict[str, object], check: str, words: str) -> None:
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
        ({"encoding": "LATIN1"}, "encoding", "encoding is LATIN1"),
        ({"encoding": "SQL_ASCII"}, "encoding", "encoding is SQL_ASCII"),
        ({"role": RoleFacts("ann", sees_sessions=False)}, "visibility", "cannot see other sessions"),
    ],
)
def test_a_note_is_no_failure(changes: dict[str, object], check: str, words: str) -> None:
    findings = of_database(**changes)
    assert words in states(findings, State.NOTE)[check]
    assert exit_code(findings) == 0
