"""The audit log of API keys, and what the run-time role can do with it: record uses and refusals, and nothing else."""

import threading
from collections.abc import Callable

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from cdc.admin.api_keys import create_key, list_keys, revoke_key, rotate_secret
from cdc.admin.installation import migrate
from cdc.core.subscription.grant import Grant
from cdc.database.queries import query

OpenSession = Callable[..., psycopg.Connection]

# Before the database in which it gets rights, so that it goes last.
pytestmark = pytest.mark.usefixtures("role")

ENTRIES = "select action, prefix, name, reason, count from flagent_cdc.api_key_audit order by id"


@pytest.fixture
def runtime(role: str, database_url: str, open_session: OpenSession) -> psycopg.Connection:
    """A session of the role that serves."""
    migrate(database_url, grant_to=role)
    return open_session(make_conninfo(database_url, user=role, password="a long password"))


def record(session: psycopg.Connection, *used: int, **refused: tuple[str | None, str, int]) -> list[int]:
    given = list(refused.values())
    row = session.execute(
        query("record_key_use"),
        {
            "used": list(used),
            "prefixes": [prefix for prefix, _, _ in given],
            "reasons": [reason for _, reason, _ in given],
            "counts": [count for _, _, count in given],
        },
    ).fetchone()
    assert row is not None
    return list(row[0])


def test_every_change_of_a_key_is_recorded_whoever_makes_it(database_url: str, writer: psycopg.Connection) -> None:
    text = create_key(database_url, "web", Grant())
    (key,) = list_keys(database_url)
    writer.execute("update flagent_cdc.api_key set scopes = '{\"admin\": true}', expires_at = null, name = 'all'")
    revoke_key(database_url, key.prefix)
    writer.execute("update flagent_cdc.api_key set revoked_at = null, hash = sha256('x')")
    writer.execute("delete from flagent_cdc.api_key")
    rotate_secret(database_url)
    prefix = key.prefix
    assert writer.execute(ENTRIES).fetchall() == [
        ("created", prefix, "web", None, 1),
        ("changed", prefix, "all", "name, scopes", 1),
        ("revoked", prefix, "all", None, 1),
        ("changed", prefix, "all", "secret, revocation", 1),
        ("deleted", prefix, "all", None, 1),
        ("secret_rotated", None, None, None, 1),
    ]
    stored = str(writer.execute("select a::text from flagent_cdc.api_key_audit a").fetchall())
    assert text.removeprefix(prefix) not in stored
    assert key.hash.hex() not in stored


def test_an_entry_names_the_role_that_logged_in(
    role: str, database_url: str, writer: psycopg.Connection, runtime: psycopg.Connection
) -> None:
    create_key(database_url, "web", Grant())
    record(runtime, a=(None, "malformed", 1))
    installer = writer.execute("select session_user").fetchone()
    actors = writer.execute("select action, actor from flagent_cdc.api_key_audit order by id").fetchall()
    assert installer is not None
    assert actors == [("created", installer[0]), ("refused", role)]


def test_a_role_that_may_change_keys_may_not_change_what_is_recorded(
    role: str, database_url: str, writer: psycopg.Connection, runtime: psycopg.Connection
) -> None:
    create_key(database_url, "web", Grant())
    writer.execute(f"grant insert, update, delete on flagent_cdc.api_key to {role}".encode())
    runtime.execute("update flagent_cdc.api_key set revoked_at = now()")
    runtime.execute("delete from flagent_cdc.api_key")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        runtime.execute("delete from flagent_cdc.api_key_audit")
    actions = [row[0] for row in writer.execute(ENTRIES).fetchall()]
    assert actions == ["created", "revoked", "deleted"]


def test_the_first_and_the_last_use_are_recorded_at_most_once_a_minute(
    database_url: str, writer: psycopg.Connection, runtime: psycopg.Connection
) -> None:
    for name in ("one", "two"):
        create_key(database_url, name, Grant())

    def times() -> list[tuple[object, ...]]:
        return writer.execute(
            "select key_id, first_used_at, last_used_at from flagent_cdc.api_key_use order by key_id"
        ).fetchall()

    assert times() == [(1, None, None), (2, None, None)]
    assert record(runtime, 1, 99) == [1]
    (id, first, last), unused = times()
    assert (id, unused) == (1, (2, None, None))
    assert first is not None
    assert first <= last  # type: ignore[operator]
    assert record(runtime, 1) == []
    assert times()[0] == (1, first, last), "within a minute nothing is written"
    writer.execute("update flagent_cdc.api_key_use set last_used_at = last_used_at - interval '61 seconds'")
    assert record(runtime, 1, 1) == []
    (_, again, later), _ = times()
    assert (again, later > last) == (first, True)  # type: ignore[operator]
    assert [row[::2] for row in writer.execute(ENTRIES).fetchall() if row[0] != "created"] == [("first_used", "one", 1)]


def test_refusals_are_recorded_with_their_key_and_never_with_a_text(
    database_url: str, writer: psycopg.Connection, runtime: psycopg.Connection
) -> None:
    text = create_key(database_url, "web", Grant())
    prefix = text[:16]
    record(
        runtime,
        known=(prefix, "expired", 3),
        unknown=("fla_cdc_aaaaaaaa", "unknown", 1),
        none=(None, "malformed", 2),
        whole_text=(text, "unknown", 1),
        another_text=("fla_cdc_aaaaaaaa\nx", "unknown", 1),
        another_reason=(prefix, "because", 1),
        no_time=(prefix, "revoked", 0),
    )
    assert [row for row in writer.execute(ENTRIES).fetchall() if row[0] == "refused"] == [
        ("refused", prefix, "web", "expired", 3),
        ("refused", "fla_cdc_aaaaaaaa", None, "unknown", 1),
        ("refused", None, None, "malformed", 2),
    ]


def test_the_runtime_role_can_do_nothing_else(
    database_url: str, writer: psycopg.Connection, runtime: psycopg.Connection
) -> None:
    create_key(database_url, "web", Grant())
    runtime.execute("select key_id, last_used_at from flagent_cdc.api_key_use")
    for forbidden in (
        "insert into flagent_cdc.api_key_audit (action) values ('created')",
        "select action from flagent_cdc.api_key_audit",
        "delete from flagent_cdc.api_key_audit",
        "update flagent_cdc.api_key_use set last_used_at = now()",
        "insert into flagent_cdc.stream_token_secret default values",
        "delete from flagent_cdc.stream_token_secret",
        "select flagent_cdc.log_key_event('created', 1, 'x', 'x', null, 1)",
        "select flagent_cdc.prune_key_audit()",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            runtime.execute(forbidden.encode())
    before = writer.execute("select k from flagent_cdc.api_key k").fetchall()
    record(runtime, 1, 2**31 - 1, -1)
    assert writer.execute("select k from flagent_cdc.api_key k").fetchall() == before


def test_strangers_push_nothing_out_but_earlier_refusals(
    database_url: str, writer: psycopg.Connection, runtime: psycopg.Connection
) -> None:
    create_key(database_url, "web", Grant())
    flood = {f"n{number}": ("fla_cdc_aaaaaaaa", "unknown", 1) for number in range(150)}
    for _ in range(12):
        record(runtime, **flood)
    kept = writer.execute(
        "select action, count(*), max(id) - min(id) + 1 from flagent_cdc.api_key_audit group by 1 order by 1"
    ).fetchall()
    assert kept == [("created", 1, 1), ("refused", 1000, 1000)], "100 of each call, and the newest 1 000 of all"


def test_the_other_entries_are_bounded_too(database_url: str, writer: psycopg.Connection) -> None:
    writer.execute(
        "insert into flagent_cdc.api_key_audit (action, name)"
        " select 'created', g::text from generate_series(1, 10010) g"
    )
    create_key(database_url, "newest", Grant())
    found = writer.execute(
        "select count(*), min(name::integer) filter (where name <> 'newest'), max(action)"
        " from flagent_cdc.api_key_audit"
    ).fetchone()
    assert found == (10_000, 12, "created")


def test_servers_that_record_the_same_key_do_not_wait_for_each_other(
    database_url: str, runtime: psycopg.Connection, open_session: OpenSession
) -> None:
    create_key(database_url, "web", Grant())
    other = open_session(database_url, autocommit=False)
    assert record(other, 1) == [1]
    answered = threading.Event()

    def work() -> None:
        if record(runtime, 1) == []:
            answered.set()

    recording = threading.Thread(target=work)
    recording.start()
    try:
        assert answered.wait(10), "the second one waited for the first one's transaction"
    finally:
        other.rollback()
        recording.join()


def test_a_rotation_keeps_the_previous_secret_and_removes_what_verifies_nothing(
    database_url: str, writer: psycopg.Connection
) -> None:
    def secrets() -> list[int]:
        return [row[0] for row in writer.execute("select id from flagent_cdc.stream_token_secret order by id")]

    rotate_secret(database_url)
    rotate_secret(database_url)
    assert secrets() == [1, 2, 3]
    writer.execute(
        "update flagent_cdc.stream_token_secret set created_at = created_at - interval '61 seconds' where id < 3"
    )
    rotate_secret(database_url)
    assert secrets() == [2, 3, 4], "the second one signed until a moment ago"
    distinct = writer.execute("select count(distinct secret) from flagent_cdc.stream_token_secret").fetchone()
    assert distinct == (3,)
