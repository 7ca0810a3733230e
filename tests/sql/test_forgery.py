"""A writer that sets our transaction-local settings to any value can neither hide a change nor invent one.

A writer of a captured table can set every `flagent_cdc.…` setting of its session. It may cause itself errors; what it
commits is in the log, has one position, and is announced as logged.
"""

import json
import random
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.fixtures.log import ChangeLog, add_flag

OpenSession = Callable[..., psycopg.Connection]

NAMES = ("transaction", "group", "first", "count")


def settings(session: psycopg.Connection) -> dict[str, str]:
    """The parts of flagent_cdc.open, of which there are none before the first change."""
    row = session.execute("select current_setting('flagent_cdc.open', true)").fetchone()
    assert row is not None
    return dict(zip(NAMES, row[0].split("/"), strict=True)) if row[0] else {}


def forge(session: psycopg.Connection, **values: Any) -> None:
    """Sets these parts of flagent_cdc.open, and leaves the others as they are."""
    parts = dict.fromkeys(NAMES, "0") | settings(session) | {name: str(value) for name, value in values.items()}
    session.execute("select set_config('flagent_cdc.open', %s, true)", ("/".join(parts[name] for name in NAMES),))


def xid(session: psycopg.Connection) -> str:
    row = session.execute("select pg_current_xact_id()::text").fetchone()
    assert row is not None
    return str(row[0])


def check(log: ChangeLog) -> None:
    """Every change has a position, and what was announced is what was logged."""
    assert log.unpositioned() == 0
    commits = log.commits()
    logged = {commit.position: commit.changes for commit in commits}
    for heard in log.heard(len(commits)):
        if "changes" in heard:
            assert heard["changes"] == [dict(change) for change in logged[heard["position"]]]


@pytest.fixture
def flags(writer: psycopg.Connection, log: ChangeLog) -> None:
    for key in ("a", "b"):
        add_flag(writer, key)
    log.heard(2)
    log.start = log.newest()


def notes(log: ChangeLog) -> list[str]:
    return [change["after"]["notes"] for commit in log.commits() for change in commit.changes]


def note(session: psycopg.Connection, text: str) -> None:
    session.execute("update flags set notes = %s where key = 'a'", (text,))


@pytest.mark.parametrize("group", [1, 2, 3, 10**9])
def test_a_group_that_is_claimed_to_be_open_takes_nothing(
    writer: psycopg.Connection, log: ChangeLog, flags: None, group: int
) -> None:
    for place in range(1, 4):
        with writer.transaction():
            forge(writer, transaction=xid(writer), group=group, count=1, first=f"(0,{place})")
            note(writer, str(place))
    assert notes(log) == ["1", "2", "3"]
    check(log)


def test_the_group_of_the_transaction_before_takes_nothing_more(
    writer: psycopg.Connection, log: ChangeLog, flags: None
) -> None:
    with writer.transaction():
        note(writer, "1")
        before = settings(writer)
    with writer.transaction():
        forge(writer, **{**before, "transaction": xid(writer)})
        note(writer, "2")
    assert [len(commit.changes) for commit in log.commits()] == [1, 1]
    assert notes(log) == ["1", "2"]
    check(log)


def test_a_group_that_was_rolled_back_takes_nothing(writer: psycopg.Connection, log: ChangeLog, flags: None) -> None:
    with writer.transaction():
        writer.execute("savepoint s")
        note(writer, "undone")
        inside = settings(writer)
        writer.execute("rollback to s")
        forge(writer, **inside)
        note(writer, "kept")
    assert notes(log) == ["kept"]
    check(log)


def test_a_group_that_is_sealed_takes_nothing_more(writer: psycopg.Connection, log: ChangeLog, flags: None) -> None:
    """In the second round of deferred triggers the writer acts after the sealing, in the same COMMIT.

    The setting still names the group then.
    """
    writer.execute(
        """create table later (kept text);
        create function early() returns trigger language plpgsql as $$ begin
            insert into later values (current_setting('flagent_cdc.open'));
            return null;
        end $$;
        create function late() returns trigger language plpgsql as $$ begin
            perform set_config('flagent_cdc.open', new.kept, true);
            update flags set notes = 'late' where key = 'a';
            return null;
        end $$;
        create constraint trigger zz_early after update on flags deferrable initially deferred
        for each row when (old.notes = 'early') execute function early();
        create constraint trigger zz_late after insert on later deferrable initially deferred
        for each row execute function late()"""
    )
    note(writer, "early")
    log.heard(1)
    log.start = log.newest()
    note(writer, "again")
    assert [len(commit.changes) for commit in log.commits()] == [1, 1]
    assert notes(log) == ["again", "late"]
    check(log)


def test_changes_that_never_were_are_not_announced(writer: psycopg.Connection, log: ChangeLog, flags: None) -> None:
    invented = {"schema": "public", "table": "flags", "op": "truncate", "key": None, "before": None, "after": None}
    with writer.transaction():
        note(writer, "1")
        writer.execute("select set_config('flagent_cdc.changes', %s, true)", (json.dumps(invented),))
        forge(writer, count=1)
    (heard,) = log.heard(1)
    assert [change["op"] for change in heard["changes"]] == ["update"]


@pytest.mark.parametrize("count", [0, 1, -5, 64, 65, 1_000_000])
def test_a_number_of_changes_that_is_wrong_hides_none(
    writer: psycopg.Connection, log: ChangeLog, flags: None, count: int
) -> None:
    with writer.transaction():
        for number in range(3):
            note(writer, str(number))
        forge(writer, count=count)
    assert notes(log) == ["0", "1", "2"]
    check(log)


@pytest.mark.parametrize("count", ["-5", "0", "1", "2", "3"])
def test_a_change_cannot_be_told_before_an_earlier_one(
    writer: psycopg.Connection, log: ChangeLog, flags: None, count: str
) -> None:
    """Published in another order, the last one of them would not be published last."""
    with writer.transaction():
        for number in range(3):
            note(writer, str(number))
        forge(writer, count=count)
        note(writer, "last")
    assert notes(log) == ["0", "1", "2", "last"]
    check(log)


@pytest.mark.parametrize("seed", range(12))
def test_whatever_a_writer_sets_everything_it_commits_is_told(
    database_url: str, open_session: OpenSession, log: ChangeLog, flags: None, seed: int
) -> None:
    """At random: changes, savepoints, early constraints, and settings that are old, borrowed or made up."""
    chance = random.Random(seed)
    session = open_session(database_url, autocommit=False)
    seen: list[dict[str, str]] = [{}]
    number = 0
    committed = 0
    for _ in range(30):
        depth = 0
        session.isolation_level = chance.choice(list(psycopg.IsolationLevel))
        try:
            for _ in range(chance.randrange(1, 9)):
                match chance.choice(
                    ["note", "note", "note", "bulk", "save", "back", "early", "replay", "forge", "count", "reset"]
                ):
                    case "note":
                        number += 1
                        note(session, str(number))
                    case "bulk":
                        session.execute("update flags set enabled = not enabled")
                    case "save":
                        depth += 1
                        session.execute(f"savepoint s{depth}".encode())
                    case "back" if depth:
                        session.execute(f"rollback to s{chance.randrange(depth) + 1}".encode())
                    case "early":
                        session.execute("set constraints all immediate")
                    case "replay":
                        forge(session, **chance.choice(seen))
                        if chance.random() < 0.7:
                            forge(session, transaction=xid(session))
                    case "forge":
                        forge(session, transaction=xid(session), group=chance.randrange(1, 200))
                        forge(session, count=chance.randrange(-2, 70), first=f"(0,{chance.randrange(1, 99)})")
                    case "count":
                        forge(session, count=chance.randrange(-2, 70))
                    case "reset":
                        session.execute("reset all")
                seen.append(settings(session))
            session.commit()
            committed += 1
        except psycopg.Error:
            session.rollback()
    assert committed > 3
    check(log)
    last: dict[str, Any] = {}
    for commit in log.commits():
        for change in commit.changes:
            key = (change["after"] or change["before"])["key"]
            assert last.setdefault(key, change["before"]) == change["before"], "a change in between is missing"
            last[key] = change["after"]
    with psycopg.connect(database_url) as reader:
        for key, image in last.items():
            row = reader.execute("select to_json(f) from flags f where key = %s", (key,)).fetchone()
            assert row == (image,)
