"""When a transaction gets its position, and that it never costs a writer its transaction."""

import threading
from collections.abc import Callable

import psycopg
import pytest
from psycopg import IsolationLevel

from tests.fixtures.log import ChangeLog, add_flag, toggle

OpenSession = Callable[..., psycopg.Connection]

EARLY = "set constraints all immediate"


@pytest.fixture
def two_flags(writer: psycopg.Connection, log: ChangeLog) -> None:
    add_flag(writer, "a")
    add_flag(writer, "b")
    log.heard(2)
    log.start = log.newest()


def holds_the_lock(observer: psycopg.Connection) -> bool:
    row = observer.execute(
        "select count(*) from pg_locks where locktype = 'advisory'"
        " and database = (select oid from pg_database where datname = current_database())"
    ).fetchone()
    assert row is not None
    return bool(row[0])


@pytest.mark.parametrize(
    "text",
    [
        "begin; update flags set enabled = true where key = 'a'; update flags set notes = 'x'; commit",
        "update flags set enabled = true where key = 'a'; update flags set notes = 'x'",
        f"begin; update flags set enabled = true; {EARLY}; commit",
        f"begin; {EARLY}; update flags set enabled = true; commit",
        f"begin; {EARLY}; update flags set enabled = true; {EARLY}; update flags set notes = 'x'; {EARLY}; commit",
        f"update flags set enabled = true; {EARLY}; update flags set notes = 'x'; {EARLY}",
        f"do $$ begin update flags set enabled = true; {EARLY}; update flags set notes = 'x'; end $$",
        f"do $$ begin for n in 1..9 loop update flags set notes = n::text where id = 1; {EARLY}; end loop; end $$",
        "do $$ begin update flags set enabled = true; commit; end $$",
        f"do $$ begin update flags set enabled = true; {EARLY}; commit; end $$",
        f"begin; savepoint s; update flags set enabled = true; {EARLY}; release s; update flags set notes = 'x'; end",
        f"begin; update flags set notes = 'x'; savepoint s; {EARLY}; rollback to s; update flags set notes = ''; end",
        f"begin; update flags set notes = 'x'; savepoint s; {EARLY}; rollback to s; {EARLY}; commit",
        "update flags set notes = 'set constraints all immediate' where key = 'a'",
        "begin; set constraints all deferred; update flags set enabled = true; commit",
        "begin; update flags set enabled = true; commit and chain; commit",
        "begin isolation level repeatable read; update flags set enabled = true; end",
    ],
)
def test_a_transaction_gets_one_position_and_one_notification(
    writer: psycopg.Connection, log: ChangeLog, two_flags: None, text: str
) -> None:
    writer.execute(text.encode())
    commit = log.only_commit()
    heard = log.heard(1)[0]
    assert heard["position"] == commit.position
    assert len(heard["changes"]) == len(commit.changes)
    assert log.unpositioned() == 0
    assert not holds_the_lock(writer)


def test_a_serializable_transaction_is_announced_without_its_changes(
    writer: psycopg.Connection, log: ChangeLog, two_flags: None
) -> None:
    """Reading them back could make it fail another one; the listeners read them from the log."""
    writer.execute("begin isolation level serializable; update flags set enabled = true; end")
    commit = log.only_commit()
    assert len(commit.changes) == 2
    (heard,) = log.heard(1)
    assert heard["position"] == commit.position
    assert "changes" not in heard


@pytest.mark.parametrize("level", ["read committed", "repeatable read", "serializable"])
@pytest.mark.parametrize(
    "text",
    [
        "update flags set notes = '1'",
        "update flags set notes = '1' where id = 1; update flags set notes = '2'",
        "update flags set notes = '1'; savepoint s; update flags set notes = '2'; rollback to s",
        "update flags set notes = '1'; savepoint s; update flags set notes = '2'; rollback to s;"
        " update flags set notes = '3'",
        "update flags set notes = '1' where id = 1; savepoint s; update flags set notes = '2'; rollback to s",
        "savepoint s; update flags set notes = '1'; rollback to s; update flags set notes = '2'",
        "insert into tags (value, created_at) select n::text, now() from generate_series(1, 70) n; savepoint s;"
        " update flags set notes = '2'; rollback to s; update flags set notes = '2' where id = 1",
    ],
)
def test_a_commit_tells_the_number_of_its_last_change(
    writer: psycopg.Connection, log: ChangeLog, two_flags: None, level: str, text: str
) -> None:
    """Who reads a commit in pages goes by the numbers to the last; what was rolled back may leave holes."""
    writer.execute(f"begin isolation level {level}; {text}; commit".encode())
    log.only_commit()
    row = writer.execute(
        "select c.changes,"
        " (select max(l.id) from flagent_cdc.change_log l where l.transaction_group = c.transaction_group)"
        " from flagent_cdc.commit_log c order by c.position desc limit 1"
    ).fetchone()
    assert row is not None
    assert row[0] == row[1]


def test_every_commit_inside_a_procedure_gets_its_own_position(
    writer: psycopg.Connection, log: ChangeLog, two_flags: None
) -> None:
    writer.execute(
        """create procedure three() language plpgsql as $$ begin
            update flags set notes = '1'; commit;
            update flags set notes = '2'; rollback;
            update flags set notes = '3'; commit;
            update flags set notes = '4';
        end $$"""
    )
    writer.execute("call three()")
    writer.execute("do $$ begin call three(); end $$")
    notes = [commit.changes[0]["after"]["notes"] for commit in log.commits()]
    assert notes == ["1", "3", "4"] * 2
    log.heard(6)


def test_a_pipeline_is_one_transaction(writer: psycopg.Connection, log: ChangeLog, two_flags: None) -> None:
    with writer.pipeline():
        toggle(writer, "a")
        toggle(writer, "b")
        toggle(writer, "a")
    assert len(log.only_commit().changes) == 3
    log.heard(1)


def test_prepared_statements_are_sealed_at_each_commit(
    writer: psycopg.Connection, log: ChangeLog, two_flags: None
) -> None:
    for number in range(8):
        writer.execute("update flags set notes = %s where key = 'a'", (str(number),), prepare=True)
    assert len(log.commits()) == 8
    log.heard(8)


@pytest.mark.parametrize(
    "statements",
    [
        ["update flags set enabled = true where key = 'a'", EARLY],
        [EARLY, "update flags set enabled = true where key = 'a'"],
        ["do $$ begin update flags set enabled = true where key = 'a'; set constraints all immediate; end $$"],
        ["select early()"],
        ["select early_in_sql()"],
        [f"update flags set enabled = true where key = 'a'; {EARLY}; select 1"],
        ["savepoint s", "update flags set enabled = true where key = 'a'", EARLY, "release s", EARLY],
    ],
)
def test_before_the_commit_nothing_is_sealed_and_no_lock_is_held(
    database_url: str,
    open_session: OpenSession,
    writer: psycopg.Connection,
    log: ChangeLog,
    two_flags: None,
    statements: list[str],
) -> None:
    writer.execute(
        f"""create function early() returns void language plpgsql as
        $$ begin update flags set enabled = true where key = 'a'; {EARLY}; end $$;
        create function early_in_sql() returns void language sql as
        $$ update flags set enabled = true where key = 'a'; {EARLY} $$"""
    )
    session = open_session(database_url, autocommit=False)
    for statement in statements:
        session.execute(statement.encode())
    assert not holds_the_lock(writer)
    row = session.execute("select count(*) from flagent_cdc.commit_log").fetchone()
    assert row == (log.start,)
    session.commit()
    log.only_commit()
    log.heard(1)


@pytest.mark.parametrize(
    "early",
    [
        "do $$ begin for i in 1..50 loop set constraints all immediate; set constraints all deferred; end loop; end $$",
        "do $$ begin for i in 1 .. 50 loop execute 'set constraints all immediate -- PL/ COMMIT'; end loop; end $$",
        "do $$ begin for i in 1..50 loop execute 'set constraints /* PL/ at COMMIT */ all immediate'; end loop; end $$",
        ";".join(["set constraints all immediate"] * 20),
        ";".join(["SET  Constraints\nALL Immediate"] * 20),
    ],
)
def test_no_constraint_that_is_set_early_takes_the_lock(
    database_url: str,
    open_session: OpenSession,
    writer: psycopg.Connection,
    log: ChangeLog,
    two_flags: None,
    early: str,
) -> None:
    session = open_session(database_url, autocommit=False)
    toggle(session, "a")
    for _ in range(3):
        session.execute(early.encode())
    assert not holds_the_lock(writer)
    session.commit()
    log.only_commit()
    toggle(session, "a")
    session.execute(f"{early}; commit".encode())  # all of it in one message
    assert len(log.commits()) == 2
    log.heard(2)


def test_two_writers_with_early_constraints_do_not_deadlock(
    database_url: str, open_session: OpenSession, log: ChangeLog, two_flags: None
) -> None:
    first, second = open_session(database_url, autocommit=False), open_session(database_url, autocommit=False)
    first.execute(EARLY)
    toggle(first, "a")
    toggle(second, "b")

    # `first` waits for the row that `second` holds; `second` must be able to commit meanwhile.
    def go_on() -> None:
        toggle(first, "b")
        first.commit()

    waiting = threading.Thread(target=go_on)
    waiting.start()
    second.execute("set local statement_timeout = '10s'")
    second.commit()
    waiting.join(timeout=20)
    assert not waiting.is_alive()
    assert [len(commit.changes) for commit in log.commits()] == [1, 2]
    log.heard(2)


def test_changes_made_by_deferred_triggers_are_sealed_too(
    writer: psycopg.Connection, log: ChangeLog, two_flags: None
) -> None:
    writer.execute(
        """create function late() returns trigger language plpgsql as
        $$ begin insert into tags (value, created_at) values ('tag ' || new.id, now()); return null; end $$;
        create constraint trigger late after update on flags deferrable initially deferred
        for each row execute function late()"""
    )
    toggle(writer, "a")
    with writer.transaction():
        toggle(writer, "b")
        writer.execute(EARLY)
    assert sorted(log.changes()) == [("flags", "update")] * 2 + [("tags", "insert")] * 2
    assert log.unpositioned() == 0


@pytest.mark.parametrize(
    ("setting", "fails"), [("lock_timeout", True), ("statement_timeout", True), ("deadlock_timeout", False)]
)
def test_a_commit_that_has_to_wait_keeps_to_the_time_outs_of_its_session(
    database_url: str,
    open_session: OpenSession,
    writer: psycopg.Connection,
    log: ChangeLog,
    two_flags: None,
    setting: str,
    fails: bool,
) -> None:
    # Another session is in the middle of a commit: it holds the commit-order lock.
    blocker = open_session(database_url, autocommit=False)
    row = blocker.execute("select pg_advisory_xact_lock(x'666c6167656e745f'::bigint), pg_backend_pid()").fetchone()
    assert row is not None
    session = open_session(database_url)
    session.execute(f"set {setting} = '400ms'".encode())
    failure: list[BaseException] = []

    def write() -> None:
        try:
            toggle(session, "a")
        except psycopg.Error as error:
            failure.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    if fails:
        thread.join(timeout=20)
    else:
        while not writer.execute(
            "select from pg_stat_activity where %s = any (pg_blocking_pids(pid))", (row[1],)
        ).fetchall():
            assert thread.is_alive()
    blocker.commit()
    thread.join(timeout=20)
    assert [type(error) for error in failure] == ([psycopg.errors.LockNotAvailable] if fails else [])
    assert session.execute(f"show {setting}".encode()).fetchone() == ("400ms",)
    toggle(session, "b")
    assert len(log.commits()) == (1 if fails else 2)


def test_a_rolled_back_transaction_leaves_nothing(
    database_url: str, open_session: OpenSession, log: ChangeLog, two_flags: None
) -> None:
    session = open_session(database_url, autocommit=False)
    toggle(session, "a")
    session.execute(EARLY)
    session.rollback()
    assert log.commits() == []
    assert log.unpositioned() == 0
    log.heard(0)


def test_a_commit_that_a_deferred_constraint_refuses_has_drawn_no_position(
    writer: psycopg.Connection, log: ChangeLog, two_flags: None
) -> None:
    writer.execute(
        """create function refuse() returns trigger language plpgsql as
        $$ begin raise exception 'refused'; end $$;
        create constraint trigger zz_refuse after insert on tags deferrable initially deferred
        for each row execute function refuse()"""
    )
    with pytest.raises(psycopg.errors.RaiseException):
        writer.execute("update flags set notes = ''; insert into tags (value, created_at) values ('t', now())")
    toggle(writer, "b")
    assert log.only_commit().position == log.start + 1
    assert log.unpositioned() == 0
    log.heard(1)


@pytest.mark.parametrize("level", list(IsolationLevel))
def test_every_isolation_level_is_sealed_alike(
    database_url: str, open_session: OpenSession, log: ChangeLog, two_flags: None, level: IsolationLevel
) -> None:
    session = open_session(database_url, autocommit=False)
    session.isolation_level = level
    session.execute("select * from flags")
    toggle(session, "a")
    session.commit()
    log.only_commit()
    log.heard(1)
