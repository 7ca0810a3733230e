"""While a writer holds the lock of the commit order, it waits for nothing but the disk: all other writers wait for it.

Writers of all lanes run at the same time, and the graph of waits is looked at again and again.
"""

import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from tests.fixtures.postgres import Postgres
from tests.sql.programs.database import Database
from tests.sql.programs.pair import pair
from tests.sql.programs.program import Program
from tests.sql.programs.session import Session

SEED = os.environ.get("FLAGENT_CDC_TEST_SEED") or str(random.randrange(1_000_000))

LASTS_S = 6.0

# For what sessions wait, and whether they hold an advisory lock of ours at that moment: pg_locks is read once.
# Programs lock numbers below 100 for themselves.
WAITS = """
with locks as materialized (
    select l.*, l.locktype = 'advisory' and not (l.classid = 0 and l.objid < 100) as is_ours from pg_locks l
)
select w.locktype, coalesce(w.relation::regclass::text, w.classid::text), w.mode, w.is_ours,
       exists (select from locks h where h.pid = w.pid and h.granted and h.is_ours)
from locks w
where not w.granted
"""

# NOTIFY takes a lock on the database 0 until the end of the commit; its holder waits for the disk alone.
NOTIFY = ("object", "1262")

# Keys and unique numbers that are checked at COMMIT, customers that others lock for longer, and changes of every lane.
# `{n}` is one of four customers, flags or regions.
STATEMENTS = (
    "update public.flags set snapshot_id = snapshot_id + 1 where id = {n}",
    "update public.flags set snapshot_id = snapshot_id + 1",
    "insert into app.orders (customer_id) values ({n})",
    "update app.orders set customer_id = {n} where id = {n}",
    "select from app.customers where id = {n} for update",
    "update app.customers set rank = {n} + 10 * (random() * 2)::int where id = {n}",
    "insert into app.customers (name, rank) values ('x', {n} + 100)",
    "delete from app.customers where rank > 100",
    "insert into app.notes values ('x', '{n}')",
    "insert into app.audit (who) values ('x')",
    "update app.regions set amount = {n} where id = {n}",
    "update app.items set version = version + 1 where order_id = {n}",
    "insert into app.keyed (at, bytes, ratio, span) values (clock_timestamp(), 'x', 1, 'empty')",
    "update app.seats set holder = {n} where id < {n}",
    "update app.typed set c1 = {n}",
)


class Writer(threading.Thread):
    """Transactions of random statements, until it is stopped."""

    def __init__(self, url: str, seed: str) -> None:
        super().__init__(name=seed)
        self._rng = random.Random(seed)
        self._session = Session(url)
        self._session.run("set deadlock_timeout = '20ms'")
        self.must_stop = threading.Event()
        self.commits = 0

    def run(self) -> None:
        while not self.must_stop.is_set():
            self._session.run("begin")
            for _ in range(self._rng.randrange(1, 5)):
                self._session.run(self._rng.choice(STATEMENTS).format(n=self._rng.randrange(1, 5)))
            if self._rng.random() < 0.1:
                self._session.run("set constraints all immediate")
            self.commits += self._session.run("commit").results[0].tag == "COMMIT"
        self._session.close()


@contextmanager
def writing(database: Database, seed: str, count: int) -> Iterator[list[Writer]]:
    writers = [Writer(database.url, f"{seed}/{number}") for number in range(count)]
    for writer in writers:
        writer.start()
    try:
        yield writers
    finally:
        for writer in writers:
            writer.must_stop.set()
        for writer in writers:
            writer.join(30)
            assert not writer.is_alive(), f"writer {writer.name} hangs"


def test_a_writer_that_holds_the_commit_lock_waits_for_no_other_session(postgres: Postgres) -> None:
    with pair(postgres, SEED, 0) as both:
        database = both.captured
        database.empty()
        database.fill(Program("no triggers", (), (), ()))
        waits, for_the_lock, edges = 0, 0, set()
        with writing(database, SEED, 6) as writers, psycopg.connect(database.url, autocommit=True) as look:
            deadline = time.monotonic() + LASTS_S
            while time.monotonic() < deadline:
                for locktype, what, mode, is_ours, is_held in look.execute(WAITS):
                    waits += 1
                    for_the_lock += is_ours
                    # Several lanes are locked one after the other, always in the same order.
                    if is_held and not is_ours and (locktype, what) != NOTIFY and locktype != "extend":
                        edges.add((locktype, what, mode))
        print(f"seed {SEED}: {sum(writer.commits for writer in writers)} commits, {waits} waits, {for_the_lock} for us")
        assert edges == set(), f"FLAGENT_CDC_TEST_SEED={SEED}"
        assert min(writer.commits for writer in writers) > 5
        assert waits > 20
