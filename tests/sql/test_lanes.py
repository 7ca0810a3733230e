"""Lanes: their locks, their positions, and that readers of either kind lose nothing."""

import random
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import IsolationLevel

from cdc.database.queries import LogKind, log_query
from cdc.postgres.pruner import Pruner, Retention
from tests.fixtures.client_programs import client_program
from tests.fixtures.log import ChangeLog, add_flag
from tests.fixtures.postgres import Postgres

OpenSession = Callable[..., psycopg.Connection]

LEVELS = [IsolationLevel.READ_COMMITTED, IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE]

# One table in the flags' lane, one in a lane ordered at commit, one in a lane ordered when read.
TABLES = ("plain", "locked", "free")


@pytest.fixture
def tables(writer: psycopg.Connection) -> psycopg.Connection:
    for table in TABLES:
        writer.execute(
            f"create table {table} (writer integer, n integer, k integer, primary key (writer, n, k))".encode()
        )
    writer.execute("select flagent_cdc.watch('plain')")
    writer.execute("select flagent_cdc.watch('locked', lane => 'locked')")
    writer.execute("select flagent_cdc.watch('free', lane => 'free', lane_order => 'read')")
    return writer


class Reader(threading.Thread):
    """Reads one lane in small pages, from its beginning, while others write; stops after `end` is set."""

    def __init__(self, url: str, kind: LogKind, lane: int) -> None:
        super().__init__()
        self._url = url
        self._kind = kind
        self._lane = lane
        self.end = threading.Event()
        self.commits: list[tuple[int, list[dict[str, Any]]]] = []
        self.pages = 0

    def run(self) -> None:
        position = 0
        with psycopg.connect(self._url, autocommit=True) as connection:
            while True:
                is_last = self.end.is_set()
                bounds = {"lane": self._lane, "position": position, "limit": 7, "most": 1_000}
                rows = connection.execute(log_query("commits_after", self._kind), bounds).fetchall()
                for found, group in groupby(rows, key=itemgetter(0)):
                    self.commits.append((found, [row[-2] or row[-3] for row in group]))
                    position = found
                if rows:
                    self.pages += 1
                elif is_last:
                    return


def write_at_random(url: str, seed: int, failures: list[BaseException]) -> None:
    """Transactions in three isolation levels, with savepoints and rollbacks, that touch the tables in any order."""
    chance = random.Random(seed)
    with psycopg.connect(url, autocommit=False) as connection:
        for n in range(40):
            connection.isolation_level = chance.choice(LEVELS)
            try:
                for k in range(chance.randrange(1, 6)):
                    connection.execute("savepoint s")
                    connection.execute(
                        f"insert into {chance.choice(TABLES)} values (%s, %s, %s)".encode(), (seed, n, k)
                    )
                    connection.execute(chance.choice(["rollback to s", "release s", "release s"]))
                    if chance.random() < 0.1:
                        connection.execute("set constraints all immediate")
                    if chance.random() < 0.1:
                        connection.execute("select pg_sleep(0.01)")
                connection.commit() if chance.random() < 0.85 else connection.rollback()
            except psycopg.errors.SerializationFailure:
                connection.rollback()
            except psycopg.Error as error:
                failures.append(error)
                return


def test_readers_of_both_kinds_of_lanes_lose_nothing_and_get_nothing_twice(
    tables: psycopg.Connection, database_url: str, log: ChangeLog
) -> None:
    base = random.randrange(1_000_000)
    print(f"seed {base}")
    readers = {"locked": Reader(database_url, "commit", 1), "free": Reader(database_url, "read", 2)}
    failures: list[BaseException] = []
    writers = [threading.Thread(target=write_at_random, args=(database_url, base + n, failures)) for n in range(9)]
    for thread in (*readers.values(), *writers):
        thread.start()
    for thread in writers:
        thread.join()
    for reader in readers.values():
        reader.end.set()
        reader.join(timeout=60)
    # No deadlock between transactions that belong to several lanes, in whatever order they touched them.
    assert [str(f) for f in failures] == []
    for table, reader in readers.items():
        held = Counter(tables.execute(f"select writer, n, k from {table}".encode()).fetchall())
        read = Counter((row["writer"], row["n"], row["k"]) for _, rows in reader.commits for row in rows)
        assert read == held, table
        positions = [position for position, _ in reader.commits]
        assert positions == sorted(set(positions)), table
        assert reader.pages > 1
        # A transaction is read as a whole, and each writer's transactions in their order.
        numbers = [{(row["writer"], row["n"]) for row in rows} for _, rows in reader.commits]
        assert all(len(one) == 1 for one in numbers), table
        last: dict[int, int] = {}
        for ((who, n),) in numbers:
            assert n >= last.get(who, -1), table
            last[who] = n
    plain = [change["after"] for commit in log.commits() for change in commit.changes]
    assert {change["table"] for commit in log.commits() for change in commit.changes} == {"plain"}
    assert Counter((row["writer"], row["n"], row["k"]) for row in plain) == Counter(
        tables.execute("select writer, n, k from plain").fetchall()
    )
    assert tables.execute(
        "select count(*) from flagent_cdc.lane_change_log l where true"
        " and not exists (select from flagent_cdc.lane_commit_log c where c.transaction_group = l.transaction_group)"
    ).fetchone() == (0,)


@pytest.mark.parametrize("kind", ["commit", "read"])
def test_reading_backwards_returns_the_same_as_reading_forwards(tables: psycopg.Connection, kind: LogKind) -> None:
    lane, table = (1, "locked") if kind == "commit" else (2, "free")
    for n in range(9):
        tables.execute(f"insert into {table} select 0, {n}, k from generate_series(0, {n}) k".encode())

    def read(name: str, **bounds: int) -> Iterator[list[tuple[int, Any]]]:
        rows = tables.execute(log_query(name, kind), {"lane": lane, "limit": 10, "most": 1_000, **bounds}).fetchall()
        for position, group in groupby(rows, key=itemgetter(0)):
            yield [(position, row[-2]) for row in group]

    forward: list[list[tuple[int, Any]]] = []
    while page := list(read("commits_after", position=forward[-1][0][0] if forward else 0)):
        forward += page
    newest = tables.execute(log_query("newest_position", kind), {"lane": lane}).fetchone()
    assert newest is not None
    assert newest[0] == forward[-1][0][0]
    backward: list[list[tuple[int, Any]]] = []
    position = int(newest[0])
    while page := list(read("commits_before", position=position, down_to=0)):
        backward += page
        position = page[-1][0][0] - 1
    assert backward == forward[::-1]
    assert [len(commit) for commit in forward] == list(range(1, 10))


def test_writers_of_two_lanes_do_not_wait_for_each_others_lock(
    tables: psycopg.Connection, database_url: str, open_session: OpenSession
) -> None:
    # Has its position and is not yet committed: it holds the lock of the flags' lane.
    holder = open_session(database_url, autocommit=False)
    holder.execute("insert into plain values (0, 0, 0)")
    holder.execute("select pg_advisory_xact_lock(x'666c6167656e745f'::bigint)")
    tables.execute("insert into locked values (0, 0, 0)")
    tables.execute("insert into free values (0, 0, 0)")
    holder.commit()
    holder.execute("select pg_advisory_xact_lock(x'666c616700000001'::bigint)")
    add_flag(tables, "a")
    tables.execute("insert into free values (0, 0, 1)")
    waiting = threading.Thread(target=open_session(database_url).execute, args=("insert into locked values (0, 0, 1)",))
    waiting.start()
    waits = "select count(*) from pg_locks where locktype = 'advisory' and not granted and objid = 1"
    deadline = time.monotonic() + 10
    while tables.execute(waits).fetchone() != (1,):
        assert time.monotonic() < deadline, "a writer of the lane does not wait for its lock"
    holder.commit()
    waiting.join(timeout=10)
    assert tables.execute("select count(*) from locked").fetchone() == (2,)


def test_a_lane_ordered_when_read_sends_no_notification_and_lets_transactions_be_prepared(
    tables: psycopg.Connection, database_url: str, open_session: OpenSession
) -> None:
    listener = open_session(database_url)
    for (channel,) in tables.execute("select channel from flagent_cdc.lane").fetchall():
        listener.execute(f"listen {channel}")
    tables.execute("insert into free values (0, 0, 0)")
    tables.execute("insert into locked values (0, 0, 0)")
    heard = [notify.payload for notify in listener.notifies(timeout=10, stop_after=1)]
    assert ['"position":1' in payload for payload in heard] == [True]
    locks = tables.execute("begin; insert into free values (0, 0, 1); set constraints all immediate")
    locks = tables.execute("select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()")
    assert locks.fetchone() == (0,)
    tables.execute("rollback")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("lane => 'Own'", "a lane name has at most 63 characters: small letters"),
        ("lane => ''", "a lane name has"),
        ("lane => null", "a lane name has"),
        ("lane => 'own', lane_order => 'fast'", "the order must be commit or read, not 'fast'"),
        ("lane_order => 'read'", "the flags' lane is ordered at commit"),
        ("lane => 'locked', lane_order => 'read'", "the lane locked is ordered at commit, and public.locked depends"),
    ],
)
def test_wrong_lanes_are_refused_by_name(tables: psycopg.Connection, options: str, sentence: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=sentence):
        tables.execute(f"select flagent_cdc.watch('plain', {options})".encode())


def test_a_lane_is_created_anew_when_its_only_table_asks_for_another_order(tables: psycopg.Connection) -> None:
    assert tables.execute("select flagent_cdc.watch('free', lane => 'free')").fetchone() == ("unchanged",)
    tables.execute("select flagent_cdc.watch('free', lane => 'free', lane_order => 'commit')")
    lanes = tables.execute("select name, lane_order, id from flagent_cdc.lane order by id").fetchall()
    assert lanes == [("locked", "commit", 1), ("free", "commit", 3)]
    tables.execute("insert into free values (0, 0, 0)")
    assert tables.execute("select lane, position from flagent_cdc.lane_commit_log").fetchall() == [(3, 1)]
    tables.execute("select flagent_cdc.watch('free')")
    tables.execute("insert into free values (0, 0, 1)")
    assert tables.execute("select count(*) from flagent_cdc.lane_commit_log").fetchone() == (1,)


def test_lanes_survive_a_dump_and_changes_from_before_it_are_not_read_as_new(
    tables: psycopg.Connection, database_url: str, postgres: Postgres, tmp_path: Path
) -> None:
    tables.execute("insert into locked values (0, 0, 0)")
    tables.execute("insert into free values (0, 0, 0)")
    # As if the transaction had come from a cluster that was far ahead.
    tables.execute("update flagent_cdc.read_order_log set xid = 1000000000000")
    tables.execute("update flagent_cdc.lane set pruned_to = 999999999999 where lane_order = 'read'")
    dump = tmp_path / "dump"
    pg_dump, pg_restore = (client_program(name, database_url) for name in ("pg_dump", "pg_restore"))
    subprocess.run([pg_dump, "--format=custom", f"--file={dump}", database_url], check=True, timeout=60)
    with postgres.database("empty") as url:
        subprocess.run([pg_restore, f"--dbname={url}", dump], check=True, timeout=60)
        with psycopg.connect(url, autocommit=True) as session:
            session.execute("insert into locked values (1, 1, 1)")
            session.execute("insert into free values (1, 1, 1)")
            positions = session.execute("select position from flagent_cdc.lane_commit_log order by 1").fetchall()
            assert positions == [(1,), (2,)]
            (newest,) = session.execute(log_query("newest_position", "read"), {"lane": 2}).fetchall()
            assert 0 < newest[0] < 1000000000000
            (state,) = session.execute(log_query("log_state", "read"), {"lane": 2}).fetchall()
            assert state[-1] is False
            assert state[2] == 1, "what another cluster pruned is missing here"
            (before,) = tables.execute(log_query("log_state", "read"), {"lane": 2}).fetchall()
            assert state[0] != before[0]
            bounds = {"lane": 2, "position": 0, "limit": 10, "most": 1_000}
            rows = session.execute(log_query("commits_after", "read"), bounds).fetchall()
            assert [row[-2] for row in rows] == [{"writer": 1, "n": 1, "k": 1}]
            # Of the two commits made here the older one is pruned; what was restored does not count as the newest.
            session.execute("update flagent_cdc.retention set min_age = '0'")
            session.execute("insert into free values (1, 2, 2)")
            pruned = session.execute("select flagent_cdc.prune_lane(2, '0', null, 10)").fetchone()
            assert pruned == (1,)
            (reach,) = session.execute(log_query("log_reach", "read"), {"lane": 2}).fetchall()
            (newest,) = session.execute(log_query("newest_position", "read"), {"lane": 2}).fetchall()
            assert rows[0][0] < reach[1] <= newest[0]


def test_a_writer_that_forges_the_settings_of_a_lane_hides_nothing(tables: psycopg.Connection) -> None:
    tables.execute("insert into locked values (0, 0, 0)")
    former = tables.execute("select transaction_group, ctid from flagent_cdc.lane_change_log_first").fetchone()
    assert former is not None
    for forged in ("", "nonsense", "1/(0,1)/x", f"{former[0]}/{former[1]}/1", "999/(9,9)/5", "1/(0,1)/1/1"):
        with tables.transaction():
            tables.execute("select set_config('flagent_cdc.lane_1', %s, true)", (forged,))
            tables.execute("select set_config('flagent_cdc.lanes', pg_current_xact_id()::text || '/1,x', true)")
            tables.execute("insert into locked select 1, max(n) + 1, 0 from locked")
            tables.execute("select set_config('flagent_cdc.lane_1', %s, true)", (forged,))
            tables.execute("insert into locked select 1, max(n) + 1, 0 from locked")
    rows = tables.execute(
        log_query("commits_after", "commit"), {"lane": 1, "position": 0, "limit": 1000, "most": 1_000}
    ).fetchall()
    assert [row[-2]["n"] for row in rows] == list(range(13))


async def test_old_commits_of_every_lane_are_pruned_and_only_a_beginning_goes(
    tables: psycopg.Connection, database_url: str
) -> None:
    for n in range(4):
        tables.execute(f"insert into locked select 0, {n}, k from generate_series(1, 3) k".encode())
        tables.execute(f"insert into free select 0, {n}, k from generate_series(1, 3) k".encode())
    tables.execute("select flagent_cdc.watch('plain', lane => 'gone', lane_order => 'read')")
    tables.execute("insert into plain values (0, 0, 0)")
    tables.execute("select flagent_cdc.watch('plain', lane => 'gone', lane_order => 'commit')")
    tables.execute("update flagent_cdc.retention set min_age = '0'")
    # The first two of each are old, and the last, which must stay.
    tables.execute(
        "update flagent_cdc.lane_commit_log set committed_at = committed_at - interval '2 hours' where position <> 3"
    )
    tables.execute(
        "update flagent_cdc.read_order_log set changed_at = changed_at - interval '2 hours' where after ->> 'n' <> '2'"
    )
    pruned = await Pruner(database_url, Retention(3600.0, None), rest=0.0).prune()
    assert pruned.changes == 3 * 2 + 3 * 2 + 1
    assert tables.execute("select position from flagent_cdc.lane_commit_log order by 1").fetchall() == [(3,), (4,)]
    assert tables.execute("select count(*) from flagent_cdc.lane_change_log").fetchone() == (6,)
    left = tables.execute(
        "select lane, after ->> 'n', count(*) from flagent_cdc.read_order_log group by 1, 2 order by 2"
    )
    assert left.fetchall() == [(2, "2", 3), (2, "3", 3)]
    kinds: tuple[tuple[LogKind, int], ...] = (("commit", 1), ("read", 2))
    for kind, lane in kinds:
        (state,) = tables.execute(log_query("log_state", kind), {"lane": lane}).fetchall()
        rows = tables.execute(
            log_query("commits_after", kind), {"lane": lane, "position": state[2] - 1, "limit": 100, "most": 1_000}
        ).fetchall()
        assert [row[-2]["n"] for row in rows] == [2, 2, 2, 3, 3, 3]


async def test_a_lane_that_is_too_large_loses_its_oldest_and_others_lose_nothing(
    tables: psycopg.Connection, database_url: str
) -> None:
    for table, order in (("locked", "commit"), ("free", "read")):
        # One change of each log.
        tables.execute(f"alter table {table} add note text default repeat('x', 900)".encode())
        tables.execute(f"create table small_{table} (n integer primary key)".encode())
        tables.execute(
            "select flagent_cdc.watch(%s, lane => %s, lane_order => %s)", (f"small_{table}", f"small_{table}", order)
        )
    for n in range(300):
        for table in ("locked", "free"):
            tables.execute(f"insert into {table} select 0, {n}, k from generate_series(1, 2) k".encode())
            if n < 3:
                tables.execute(f"insert into small_{table} values ({n})".encode())
    limit = Retention(None, None, 60_000)
    # All of it is younger than the owner keeps.
    assert (await Pruner(database_url, limit, rest=0.0).prune()).changes == 0
    tables.execute("update flagent_cdc.retention set min_age = '0'")
    assert (await Pruner(database_url, Retention(None, None, 2**30), rest=0.0).prune()).changes == 0
    pruned = await Pruner(database_url, limit, rest=0.0).prune()
    left = {}
    kinds: tuple[tuple[LogKind, int], ...] = (("commit", 1), ("read", 2), ("commit", 3), ("read", 4))
    for kind, lane in kinds:
        rows = tables.execute(
            log_query("commits_after", kind), {"lane": lane, "position": 0, "limit": 10_000, "most": 10_000}
        ).fetchall()
        left[lane] = [row[-2]["n"] for row in rows]
        (state,) = tables.execute(log_query("log_state", kind), {"lane": lane}).fetchall()
        assert state[2] <= rows[0][0]
    assert left[3] == left[4] == [0, 1, 2]
    for kept in (left[1], left[2]):
        assert kept == [n for n in range(kept[0], 300) for _ in range(2)]
        # About half, by an estimate; whole commits alone.
        assert 2 < len(kept) < 300
    assert pruned.changes == 2 + 4 * 300 - len(left[1]) - len(left[2])
    # Once is enough.
    assert (await Pruner(database_url, limit, rest=0.0).prune()).changes <= 20


def test_a_bulk_change_in_a_lane_that_was_small_does_not_read_its_log_for_each_row(tables: psycopg.Connection) -> None:
    # As autovacuum leaves a quiet lane: reading all of so small a log looks cheapest, in a plan that the session keeps.
    tables.execute("vacuum analyze flagent_cdc.lane_change_log, flagent_cdc.lane_change_log_first")
    with tables.transaction():
        tables.execute("insert into locked select 0, 0, k from generate_series(1, 500) k")
        read = tables.execute(
            "select relname, seq_tup_read from pg_stat_xact_all_tables where schemaname = 'flagent_cdc'"
            " and relname in ('lane_change_log', 'lane_change_log_first') order by 1"
        ).fetchall()
    assert read == [("lane_change_log", 0), ("lane_change_log_first", 0)]


@pytest.mark.parametrize("nested", [False, True], ids=["plain", "nested"])
@pytest.mark.parametrize("table", TABLES)
def test_serializable_writers_of_disjoint_rows_never_fail_in_any_lane(
    tables: psycopg.Connection, database_url: str, table: str, nested: bool
) -> None:
    """Without shared rows any failure would come from what the triggers read or write."""
    tables.execute(f"alter table {table} add note text".encode())
    tables.execute(f"insert into {table} select n, 0, 0, repeat('x', 900) from generate_series(0, 1999) n".encode())
    lane = tables.execute(
        "select lane, lane_order from flagent_cdc.watched() where table_name = %s", (table,)
    ).fetchone()
    tables.execute(
        "select flagent_cdc.watch(%s, lane => %s, lane_order => %s, mask => '{note}', predicate => 'writer >= 0')",
        (table, *(lane or ())),
    )
    if nested:
        tables.execute(
            f"create function again() returns trigger language plpgsql as $$ begin"
            f" update {table} set note = note || '?' where writer = new.writer and n = new.n and k = new.k;"
            f" update {table} set note = note where writer = new.writer and n = new.n and k = new.k;"
            f" return null; end $$; create trigger a_again after update on {table} for each row"
            f" when (pg_trigger_depth() = 0) execute function again()".encode()
        )
    tables.execute(f"vacuum analyze {table}".encode())
    failures: list[BaseException] = []

    def write(number: int) -> None:
        with psycopg.connect(database_url, autocommit=False) as connection:
            connection.isolation_level = IsolationLevel.SERIALIZABLE
            for n in range(25):
                try:
                    for _ in range(1 + n % 2):
                        connection.execute(
                            f"update {table} set note = note || '!' where writer = %s and n = 0 and k = 0".encode(),
                            (number * 300,),
                        )
                    if number % 2:
                        connection.execute("set constraints all immediate")
                    connection.commit()
                except psycopg.Error as error:
                    failures.append(error)
                    connection.rollback()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [str(f) for f in failures] == []
