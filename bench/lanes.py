"""`python -m bench.writer --lanes`: what a table with heavy writes pays for being watched, and what flags pay for it.

Four databases on one server hold the same table: not watched, watched in the flags' lane, in a lane ordered at commit,
and in one ordered when read. In each round all four are visited twice: eight writers change rows of the table, each its
own, first alone and then while a ninth toggles a flag all the time. The medians are compared.

The run fails when a log does not hold exactly what was written: as many transactions, and of every row an unbroken
chain from one image to the next, in the order of its lane.
"""

import os
import statistics
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from bench.pgbench import run_pgbench
from cdc.admin.installation import migrate
from cdc.admin.watched_tables import WatchOptions, watch
from cdc.database.queries import flagent_tables

CLIENTS = 8

ORDERS = """
create table orders (id integer primary key, customer text not null, total numeric not null, n integer not null);
insert into orders select n, 'ann-' || n || '@example.org', n * 1.25, 0 from generate_series(1, 8000) n;
insert into flags (key, description, created_at) values ('checkout', '', now());
"""

# Each client has rows of its own: what is measured is not waiting for each other's rows.
ONE_ORDER = """\\set id :client_id * 1000 + random(1, 1000)
update orders set n = n + 1, total = total + 1 where id = :id;
"""

ONE_FLAG = "update flags set enabled = not enabled;"

ARMS = {
    "not watched": None,
    "flags' lane": WatchOptions(),
    "ordered at commit": WatchOptions(lane="orders"),
    "ordered when read": WatchOptions(lane="orders", order="read"),
}

CHAIN = """
select count(*), count(distinct transaction),
       count(*) filter (where previous is distinct from before and previous is not null)
  from (
    select l.before::text, l.transaction,
           lag(l.after::text) over (partition by l.after ->> 'id' order by l.place, l.id) as previous
      from ({log}) l
  ) chain
"""

LOGS = {
    "flags' lane": "select l.before, l.after, l.id, c.position as place, c.xid::text as transaction"
    " from flagent_cdc.change_log l join flagent_cdc.commit_log c using (transaction_group)"
    " where l.table_name = 'orders'",
    "ordered at commit": "select l.before, l.after, l.id, c.position as place, c.xid::text as transaction"
    " from flagent_cdc.lane_change_log l join flagent_cdc.lane_commit_log c using (transaction_group)",
    "ordered when read": "select l.before, l.after, l.id, l.xid as place, l.xid::text as transaction"
    " from flagent_cdc.read_order_log l",
}


@dataclass
class Arm:
    """One of the databases; rates in commits per second."""

    name: str
    url: str
    orders: int = 0
    alone: list[float] = field(default_factory=list)
    beside_flags: list[float] = field(default_factory=list)
    flags: list[float] = field(default_factory=list)


def run(url: str, rounds: int, seconds: int) -> None:
    with ExitStack() as stack:
        arms = [stack.enter_context(arm(url, name)) for name in ARMS]
        print(f"{rounds} rounds of {seconds} s, {CLIENTS} writers of one row each, {os.cpu_count()} CPUs", flush=True)
        for each in arms:
            each.orders += run_pgbench(each.url, ONE_ORDER, CLIENTS, 1)[0]  # warms up
        for number in range(rounds):
            # starts with another one each round: what the first one leaves behind must not always hit the second
            for offset in range(len(arms)):
                visit(arms[(number + offset) % len(arms)], seconds)
        report(arms)
        failures = [failure for each in arms[1:] for failure in check(each)]
    if failures:
        sys.exit("\n".join(["FAILED", *failures]))
    print("nothing lost, nothing twice, every row's changes in order")


@contextmanager
def arm(url: str, name: str) -> Iterator[Arm]:
    database = f"bench_lanes_{os.getpid()}_{list(ARMS).index(name)}"
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"create database {database}".encode())
        own = make_conninfo("", **{**conninfo_to_dict(url), "dbname": database})
        try:
            with psycopg.connect(own, autocommit=True) as connection:
                connection.execute(flagent_tables())
                connection.execute(ORDERS)
                migrate(own)
                options = ARMS[name]
                if options is not None:
                    watch(own, "orders", options)
                connection.execute("vacuum analyze")
            yield Arm(name, own)
        finally:
            admin.execute(f"drop database {database} with (force)".encode())


def visit(each: Arm, seconds: int) -> None:
    with psycopg.connect(each.url, autocommit=True) as connection:
        connection.execute("vacuum orders, flags")
        connection.execute("checkpoint")
    transactions, rate = run_pgbench(each.url, ONE_ORDER, CLIENTS, seconds)
    each.orders += transactions
    each.alone.append(rate)
    with ThreadPoolExecutor(2) as both:
        orders = both.submit(run_pgbench, each.url, ONE_ORDER, CLIENTS, seconds)
        flags = both.submit(run_pgbench, each.url, ONE_FLAG, 1, seconds)
    each.orders += orders.result()[0]
    each.beside_flags.append(orders.result()[1])
    each.flags.append(flags.result()[1])


def check(each: Arm) -> list[str]:
    with psycopg.connect(each.url, autocommit=True) as connection:
        connection.execute("analyze")  # the log was empty when the planner last looked
        row = connection.execute(CHAIN.format(log=LOGS[each.name]).encode()).fetchone()
    assert row is not None
    changes, transactions, broken = row
    failures = []
    if (changes, transactions) != (each.orders, each.orders):
        failures.append(f"{each.name}: {each.orders} were written, {changes} changes of {transactions} are in the log")
    if broken:
        failures.append(f"{each.name}: {broken} changes do not follow from the one before")
    return failures


def report(arms: list[Arm]) -> None:
    print(f"{'':<20}{'orders alone':>16}{'ratio':>8}{'beside flags':>16}{'ratio':>8}{'flags beside':>16}{'ratio':>8}")
    first = arms[0]
    for each in arms:
        line = f"{each.name:<20}"
        for mine, its in (
            (each.alone, first.alone), (each.beside_flags, first.beside_flags), (each.flags, first.flags),
        ):  # fmt: skip
            rate = statistics.median(mine)
            line += f"{rate:>14.0f}/s{rate / statistics.median(its):>8.2f}"
        print(line)
