"""A writer that sets our settings can neither hide, invent nor reorder changes of a watched table in any lane.

Each test applies the logged changes row by row, in their order: the result must equal the table.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from cdc.database.queries import LogKind, log_query

OpenSession = Callable[..., psycopg.Connection]

KINDS: tuple[LogKind, ...] = ("flags", "commit", "read")


@dataclass(frozen=True)
class Days:
    """A partitioned table that is watched in a lane of some kind, and what that lane's log holds of it."""

    reader: psycopg.Connection
    kind: LogKind
    oid: int

    def logged(self) -> list[tuple[str, Any, Any]]:
        bounds = {"position": 0, "limit": 1_000_000, "most": 1_000_000, "lane": 1}
        rows = self.reader.execute(log_query("commits_after", self.kind), bounds).fetchall()
        return [(op, before, after) for *_, table, op, before, after, _ in rows if table == "days"]

    def check(self) -> None:
        """Folded in their order, each upon what it says was there, the changes are the table."""
        held: dict[int, Any] = {}
        for op, before, after in self.logged():
            if op == "truncate":
                held.clear()
                continue
            if before is not None:
                assert held.pop(before["day"], None) == before, "a change in between is missing, or comes later"
            if after is not None:
                held[after["day"]] = after
        rows = self.reader.execute("select to_json(d) from days d").fetchall()
        assert sorted(map(str, held.values())) == sorted(str(row) for (row,) in rows)


@pytest.fixture(params=KINDS)
def days(request: pytest.FixtureRequest, database_url: str, writer: psycopg.Connection) -> Iterator[Days]:
    writer.execute("create table days (day integer primary key, what text) partition by range (day)")
    for number in (1, 2):
        bounds = f"from ({number * 10}) to ({number * 10 + 10})"
        writer.execute(f"create table days_{number} partition of days for values {bounds}".encode())
    options = "" if request.param == "flags" else f", lane => 'own', lane_order => '{request.param}'"
    writer.execute(f"select flagent_cdc.watch('days'{options})".encode())
    row = writer.execute("select 'days'::regclass::oid").fetchone()
    assert row is not None
    with psycopg.connect(database_url, autocommit=True) as reader:
        yield Days(reader, request.param, int(row[0]))


def forge(session: psycopg.Connection, **values: Any) -> None:
    for name, value in values.items():
        session.execute("select set_config(%s, %s, true)", (f"flagent_cdc.{name}", str(value)))


def fill(session: psycopg.Connection) -> None:
    session.execute("insert into days values (10, 'a'), (11, 'b'), (20, 'c') on conflict do nothing")


@pytest.mark.parametrize("forged", ["truncating_{oid}=(0,1)", "truncated={oid}", "truncating_{oid}=(7,9)"])
def test_a_partition_that_is_truncated_cannot_be_hidden(writer: psycopg.Connection, days: Days, forged: str) -> None:
    fill(writer)
    name, _, value = forged.format(oid=days.oid).partition("=")
    with writer.transaction():
        forge(writer, **{name: value})
        writer.execute("truncate days_1")
    assert [op for op, _, _ in days.logged()] == ["insert"] * 3 + ["delete"] * 2
    days.check()


def test_neither_after_the_whole_table_was_truncated_in_the_same_transaction(
    writer: psycopg.Connection, days: Days
) -> None:
    for place in range(1, 6):
        with writer.transaction():
            writer.execute("truncate days")
            fill(writer)
            forge(writer, **{f"truncating_{days.oid}": f"(0,{place})"})
            writer.execute("truncate days_1")
        days.check()


def test_neither_after_a_truncation_that_was_rolled_back(writer: psycopg.Connection, days: Days) -> None:
    fill(writer)
    for place in range(1, 6):
        with writer.transaction():
            writer.execute("savepoint s")
            writer.execute("truncate days")
            writer.execute("rollback to s")
            forge(writer, **{f"truncating_{days.oid}": f"(0,{place})"})
            writer.execute("truncate days_1")
        fill(writer)
        days.check()


def test_neither_by_a_trigger_that_acts_while_the_whole_table_is_truncated(
    writer: psycopg.Connection, days: Days
) -> None:
    setting = f"flagent_cdc.truncating_{days.oid}"
    writer.execute(
        f"""create function keep() returns trigger language plpgsql as $$ begin
            perform set_config('test.kept', current_setting('{setting}'), true), set_config('{setting}', '', true);
            return null;
        end $$;
        create trigger zz_keep before truncate on days_2 for each statement execute function keep()""".encode()
    )
    fill(writer)
    with writer.transaction():
        writer.execute("truncate days")
        fill(writer)
        writer.execute(f"select set_config('{setting}', current_setting('test.kept'), true)".encode())
        writer.execute("truncate days_1")
    days.check()


def test_truncations_in_serializable_transactions_do_not_fail_each_other(
    writer: psycopg.Connection, days: Days, database_url: str, open_session: OpenSession
) -> None:
    writer.execute("create table weeks (week integer primary key) partition by range (week)")
    writer.execute("create table weeks_1 partition of weeks for values from (1) to (60)")
    writer.execute("select flagent_cdc.watch('weeks', lane => 'weeks')")
    sessions = [open_session(database_url, autocommit=False) for _ in range(2)]
    for session, table in zip(sessions, ("days", "weeks"), strict=True):
        session.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        session.execute("select 1")
        session.execute(f"truncate {table}".encode())
    for session in sessions:
        session.commit()
    assert [op for op, _, _ in days.logged()] == ["truncate"]


def settings(session: psycopg.Connection) -> dict[str, str]:
    names = ("lane_1", "lanes", "open")
    found = {}
    for name in names:
        row = session.execute("select current_setting(%s, true)", (f"flagent_cdc.{name}",)).fetchone()
        assert row is not None
        found[name] = row[0] or ""
    return found


def test_a_change_cannot_be_published_before_an_earlier_one(writer: psycopg.Connection, days: Days) -> None:
    """By a number, or a place, that a writer sets back within its transaction: it fails, or nothing comes of it."""
    fill(writer)
    for number in range(4):
        try:
            with writer.transaction():
                seen = []
                for step in range(4):
                    writer.execute("update days set what = %s where day = 10", (f"{number}-{step}",))
                    seen.append(settings(writer))
                forge(writer, **seen[number])
                if number == 3:
                    own, group, *_ = (seen[0]["lane_1"] + "/").split("/")
                    of_flags = "/".join([*seen[0]["open"].split("/")[:2], "(0,0)", "n"])
                    forge(writer, open=of_flags, lane_1=f"{own}/{group}/(0,0)/n")
                writer.execute("update days set what = 'last' where day = 10")
        except psycopg.errors.UniqueViolation:
            assert days.kind != "read"
        days.check()


@pytest.mark.parametrize("seed", range(4))
def test_whatever_a_writer_sets_everything_it_commits_is_logged(
    database_url: str, open_session: OpenSession, days: Days, seed: int
) -> None:
    """At random: changes, truncations, savepoints, early constraints, and settings old, borrowed or made up."""
    chance = random.Random(seed)
    session = open_session(database_url, autocommit=False)
    truncating = f"truncating_{days.oid}"
    seen = [settings(session)]
    session.commit()
    committed = 0
    for _ in range(25):
        depth = 0
        session.isolation_level = chance.choice(list(psycopg.IsolationLevel))
        try:
            for _ in range(chance.randrange(1, 9)):
                day, partition = chance.randrange(10, 30), chance.choice(["days", "days_1", "days_2"])
                match chance.choice(
                    ["put", "put", "put", "take", "bulk", "empty", "save", "back", "early", "replay", "forge", "reset"]
                ):
                    case "put":
                        session.execute(
                            "insert into days values (%s, %s) on conflict (day) do update set what = excluded.what",
                            (day, str(chance.random())),
                        )
                    case "take":
                        session.execute("delete from days where day > %s", (day,))
                    case "bulk":
                        session.execute("update days set what = what || '!'")
                    case "empty":
                        session.execute(f"truncate {partition}".encode())
                    case "save":
                        depth += 1
                        session.execute(f"savepoint s{depth}".encode())
                    case "back" if depth:
                        session.execute(f"rollback to s{chance.randrange(depth) + 1}".encode())
                    case "early":
                        session.execute("set constraints all immediate")
                    case "replay":
                        forge(session, **chance.choice(seen))
                    case "forge":
                        place = f"(0,{chance.randrange(1, 60)})"
                        forge(session, lane_1=f"{chance.randrange(1, 90)}/{place}/{place}/{chance.randrange(9)}")
                        xid = (session.execute("select pg_current_xact_id()::text").fetchone() or ("",))[0]
                        group, number = chance.randrange(1, 90), chance.randrange(-2, 70)
                        forge(session, lanes="1/1,1", open=f"{xid}/{group}/{place}/{number}", **{truncating: place})
                    case "reset":
                        session.execute("reset all")
                seen.append(settings(session))
            session.commit()
            committed += 1
        except psycopg.Error:
            session.rollback()
    assert committed > 3
    days.check()
    unpositioned = days.reader.execute(
        "select count(*) from flagent_cdc.lane_change_log g"
        " where not exists (select from flagent_cdc.lane_commit_log c where c.transaction_group = g.transaction_group)"
    ).fetchone()
    assert unpositioned == (0,)
