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

NAMES = ("own", "group", "place", "which", "number", "nested")


def settings(session: psycopg.Connection) -> dict[str, str]:
    """The parts of flagent_cdc.open, of which there are none before the first change."""
    row = session.execute("select current_setting('flagent_cdc.open', true)").fetchone()
    assert row is not None
    return dict(zip(NAMES, row[0].split("/"), strict=True)) if row[0] else {}


def forge(session: psycopg.Connection, **values: Any) -> None:
    """Sets these parts of flagent_cdc.open, and leaves the others as they are."""
    parts = dict.fromkeys(NAMES, "0") | settings(session) | {name: str(value) for name, value in values.items()}
    session.execute("select set_config('flagent_cdc.open', %s, true)", ("/".join(parts[name] for name in NAMES),))


def own_group(session: psycopg.Connection) -> str:
    """What a writer can work out of its transaction's id."""
    row = session.execute("select ((1::bigint << 57) | pg_current_xact_id()::text::bigint)::text").fetchone()
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
            forge(writer, own=own_group(writer), group=group, which="fn"[place % 2], place=f"(0,{place})")
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
        forge(writer, **{**before, "own": own_group(writer)})
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


def test_a_group_that_has_its_position_takes_nothing_more(
    writer: psycopg.Connection, log: ChangeLog, flags: None
) -> None:
    """A cursor WITH HOLD is run by COMMIT after all else, and what it calls may write; also with forged settings."""
    writer.execute(
        """create table kept (setting text);
        create function late(text) returns text language plpgsql as $$ begin
            perform set_config('flagent_cdc.open', (select setting from kept limit 1), true);
            update flags set notes = $1 where key = 'a';
            return $1;
        end $$"""
    )
    for number in range(3):
        with writer.transaction():
            note(writer, f"early {number}")
            writer.execute("delete from kept; insert into kept select current_setting('flagent_cdc.open')")
            for cursor in range(number):
                writer.execute(f"declare c{cursor} cursor with hold for select late('late {cursor}')".encode())
        for cursor in range(number):
            writer.execute(f"close c{cursor}".encode())
    assert [len(commit.changes) for commit in log.commits()] == [1, 1, 1, 1, 2]
    assert notes(log) == ["early 0", "early 1", "late 0", "early 2", "late 0", "late 1"]
    check(log)


def test_changes_that_never_were_are_not_announced(writer: psycopg.Connection, log: ChangeLog, flags: None) -> None:
    invented = {"schema": "public", "table": "flags", "op": "truncate", "key": None, "before": None, "after": None}
    with writer.transaction():
        note(writer, "1")
        writer.execute("select set_config('flagent_cdc.changes', %s, true)", (json.dumps(invented),))
        forge(writer, which="n")
    (heard,) = log.heard(1)
    assert [change["op"] for change in heard["changes"]] == ["update"]


PLACES = ["f", "n", "(0,0)", "(0,1)", "(0,2)", "(0,3)", "(0,5)", "(9,9)", ""]


@pytest.mark.parametrize("forged", PLACES)
def test_a_place_that_is_wrong_hides_no_change(
    writer: psycopg.Connection, log: ChangeLog, flags: None, forged: str
) -> None:
    with writer.transaction():
        for number in range(3):
            note(writer, str(number))
        forge(writer, **({"which": forged} if forged in "fn" and forged else {"place": forged}))
    assert notes(log) == ["0", "1", "2"]
    check(log)


@pytest.mark.parametrize("forged", PLACES)
@pytest.mark.parametrize("kept", [0, 1, 2])
def test_a_change_cannot_be_published_before_an_earlier_one(
    writer: psycopg.Connection, log: ChangeLog, flags: None, forged: str, kept: int
) -> None:
    """In another order, the last one would not be published last: the writer fails, or its change is last."""
    seen = []
    try:
        with writer.transaction():
            for number in range(3):
                note(writer, str(number))
                seen.append(settings(writer))
            forge(writer, **seen[kept])
            forge(writer, **({"which": forged} if forged in "fn" and forged else {"place": forged}))
            note(writer, "last")
    except (psycopg.errors.UniqueViolation, psycopg.errors.InvalidTextRepresentation):
        assert notes(log) == []
    else:
        assert notes(log) == ["0", "1", "2", "last"]
    check(log)


@pytest.mark.parametrize("seed", range(12))
def test_whatever_a_writer_sets_everything_it_commits_is_logged(
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
                    ["note", "note", "note", "bulk", "save", "back", "early", "replay", "forge", "place", "reset"]
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
                            forge(session, own=own_group(session))
                    case "forge":
                        forge(session, own=own_group(session), group=chance.choice([own_group(session), 5]))
                        forge(session, which=chance.choice("fn"), place=f"(0,{chance.randrange(1, 99)})")
                    case "place":
                        forge(session, place=f"(0,{chance.randrange(1, 20)})")
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
