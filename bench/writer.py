"""`python -m bench.writer`: what the triggers cost those who write.

Three databases on one server hold the same 10 000 flags: without triggers, with ours, and with a bare row trigger that
calls `pg_notify` and keeps no log. Each round visits all three, so that all see the same machine; the medians are
compared. Writers are pgbench clients, light enough not to be what is measured. The server is an embedded one of its own
with fsync on, unless `--database-url` names another (a superuser's; the databases are made and dropped there).

The run fails when the log does not hold exactly what was written, in order: the number of commits, for each row an
unbroken chain from one image to the next, its end equal to the table, and one notification per transaction.
"""

import argparse
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from bench import lanes
from bench.pgbench import run_pgbench
from cdc.admin.installation import migrate
from cdc.database.queries import flagent_tables
from cdc.embedded.server import EmbeddedPostgres

ROWS = 10_000

FLAGS = f"""
insert into flags (key, description, updated_by, enabled, snapshot_id, notes, entity_type, created_at, updated_at)
select 'checkout.flow-' || n, 'Shows the new checkout to a part of the users', 'ann@example.org', false, n,
       'Ask the payments team before this is changed.', 'user', now(), now()
  from generate_series(1, {ROWS}) n
"""

BARE = """
create function bare() returns trigger language plpgsql as
$$ begin perform pg_notify('bare', to_json(new)::text); return null; end $$;
create trigger bare after insert or update or delete on flags for each row execute function bare()
"""

# Each client has rows of its own: what is measured is the triggers, not waiting for each other's rows.
ONE_ROW = """\\set flag :client_id * 1000 + random(1, 1000)
update flags set enabled = not enabled, updated_at = clock_timestamp() where id = :flag;
"""

ALL_ROWS = "update flags set enabled = not enabled, updated_at = clock_timestamp()"

BROKEN_CHAINS = """
select count(*) from (
    select l.before::text as before,
           lag(l.after::text) over (partition by l.after ->> 'id' order by c.position, l.id) as previous
      from flagent_cdc.change_log l join flagent_cdc.commit_log c using (transaction_group)
     where l.table_name = 'flags' and l.op <> 'truncate'
) as chain
where previous is distinct from before and previous is not null
"""

WRONG_ENDS = """
select count(*) from flags f
 where to_json(f)::text is distinct from (
    select l.after::text from flagent_cdc.change_log l join flagent_cdc.commit_log c using (transaction_group)
     where l.table_name = 'flags' and l.after ->> 'id' = f.id::text
     order by c.position desc, l.id desc limit 1
 ) and f.id % 250 = 1
"""


@dataclass
class Arm:
    """One of the three databases, and what was measured on it; `transactions` counts all that were committed."""

    name: str
    url: str
    transactions: int = 0
    commits_per_s: dict[int, list[float]] = field(default_factory=dict)
    bulk_s: list[float] = field(default_factory=list)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.writer", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=7, help="how often each of the three is visited (default 7)")
    parser.add_argument(
        "--seconds", type=int, default=3, help="how long each visit with 1 and 8 clients lasts (default 3)"
    )
    parser.add_argument("--database-url", help="a server to use, instead of an embedded one")
    parser.add_argument(
        "--lanes", action="store_true", help="measure a watched table with heavy writes instead, in each kind of lane"
    )
    options = parser.parse_args(arguments)

    with ExitStack() as stack:
        if options.lanes:
            url = options.database_url or stack.enter_context(embedded()).url
            lanes.run(url, options.rounds, options.seconds)
            return
        url = options.database_url or stack.enter_context(embedded()).url
        arms = [stack.enter_context(arm(url, name)) for name in ("untriggered", "flagent-cdc", "bare pg_notify")]
        with psycopg.connect(url) as connection:
            version = connection.info.parameter_status("server_version")
            fsync = connection.execute("show fsync").fetchone()
        print(f"PostgreSQL {version}, fsync {fsync[0] if fsync else '?'}, {os.cpu_count()} CPUs, {platform.machine()}")
        print(f"{options.rounds} rounds of {options.seconds} s; {ROWS} flags", flush=True)
        for clients in (1, 8):
            for each in arms:
                pgbench(each, clients, 1)  # warms up
                each.commits_per_s.pop(clients)
            measure(arms, options.rounds, partial(pgbench, clients=clients, seconds=options.seconds))
        measure(arms[:2], options.rounds, update_all)
        failures = check(arms[1])
        report(*arms)
    if failures:
        sys.exit("\n".join(["FAILED", *failures]))
    print("nothing lost, nothing reordered, one notification per transaction")


@contextmanager
def embedded(directory: Path | None = None, **options: str) -> Iterator[EmbeddedPostgres]:
    """A server in a directory that is kept, or in one of its own that is not."""
    place = directory or Path(tempfile.mkdtemp(prefix="flagent-cdc-bench-"))
    place.mkdir(exist_ok=True)
    place.chmod(0o755)
    try:
        with EmbeddedPostgres(place / "server", options={"autovacuum": "off", "max_wal_size": "4GB", **options}) as own:
            yield own
    finally:
        if directory is None:
            shutil.rmtree(place)


@contextmanager
def arm(url: str, name: str) -> Iterator[Arm]:
    database = f"bench_writer_{os.getpid()}_{name.replace(' ', '_').replace('-', '_')}"
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"create database {database}".encode())
        own = make_conninfo("", **{**conninfo_to_dict(url), "dbname": database})
        try:
            furnish(own, name)
            yield Arm(name, own)
        finally:
            admin.execute(f"drop database {database} with (force)".encode())


def furnish(url: str, name: str) -> None:
    """Put the flags, and the triggers of that arm, into an empty database."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(flagent_tables())
        connection.execute(FLAGS.encode())
        if name == "flagent-cdc":
            migrate(url)
        elif name == "bare pg_notify":
            connection.execute(BARE)
        connection.execute("vacuum analyze")


def measure(arms: list[Arm], rounds: int, work: Callable[[Arm], None]) -> None:
    for number in range(rounds):
        # starts with another one each round: what the first one leaves behind must not always hit the second
        for offset in range(len(arms)):
            each = arms[(number + offset) % len(arms)]
            with psycopg.connect(each.url, autocommit=True) as connection:
                connection.execute("vacuum flags")
                connection.execute("checkpoint")
            work(each)


def pgbench(each: Arm, clients: int, seconds: int) -> None:
    transactions, rate = run_pgbench(each.url, ONE_ROW, clients, seconds)
    each.transactions += transactions
    each.commits_per_s.setdefault(clients, []).append(rate)


def update_all(each: Arm) -> None:
    with psycopg.connect(each.url, autocommit=True) as connection:
        begun = time.perf_counter()
        connection.execute(ALL_ROWS)
        each.bulk_s.append(time.perf_counter() - begun)
    each.transactions += 1


def check(ours: Arm) -> list[str]:
    """What is wrong with the log after all rounds."""
    failures = []
    with (
        psycopg.connect(ours.url, autocommit=True) as connection,
        psycopg.connect(ours.url, autocommit=True) as listener,
    ):

        def number(statement: str) -> int:
            row = connection.execute(statement.encode()).fetchone()
            return int(row[0]) if row else 0

        commits = number("select count(*) from flagent_cdc.commit_log") - 1  # the first one is the attachment
        if commits != ours.transactions:
            failures.append(f"{ours.transactions} transactions were committed, {commits} are in the log")
        counted = number("select sum(changes) from flagent_cdc.commit_log")
        if counted != number("select count(*) from flagent_cdc.change_log"):
            failures.append("the log holds another number of changes than its commits count")
        if broken := number(BROKEN_CHAINS):
            failures.append(f"{broken} changes do not follow from the one before")
        connection.execute("create index on flagent_cdc.change_log ((after ->> 'id'))")
        connection.execute("create index on flagent_cdc.change_log_first ((after ->> 'id'))")
        if wrong := number(WRONG_ENDS):
            failures.append(f"{wrong} rows differ from their last image in the log")
        channel = connection.execute("select channel from flagent_cdc.installation").fetchone()
        listener.execute(f"listen {channel[0] if channel else ''}".encode())
        for statement in (
            ALL_ROWS,
            "update flags set enabled = not enabled where id < 3",
            "update flags set notes = 'x' where id = 1",
        ):
            connection.execute(statement.encode())
        heard = sum(1 for _ in listener.notifies(timeout=1))
        if heard != 3:
            failures.append(f"3 transactions sent {heard} notifications")
    return failures


def report(untriggered: Arm, ours: Arm, bare: Arm) -> None:
    def rate(each: Arm, clients: int) -> float:
        return statistics.median(each.commits_per_s[clients])

    def row(what: str, values: list[str], ratio: str, target: str) -> None:
        print(f"{what:<34}" + "".join(f"{value:>16}" for value in values) + f"   {ratio:<22}{target}")

    row("", [untriggered.name, ours.name, bare.name], "ratio", "target")
    one = [1000 / rate(each, 1) for each in (untriggered, ours, bare)]
    row("one row, 1 client, ms", [f"{ms:.3f}" for ms in one], f"{one[1] / one[0]:.2f} x untriggered", "at most 2")
    eight = [rate(each, 8) for each in (untriggered, ours, bare)]
    row(
        "one row, 8 clients, commits/s",
        [f"{it:.0f}" for it in eight],
        f"{eight[1] / eight[2]:.2f} x bare",
        "at least 0.65",
    )
    bulk = [statistics.median(each.bulk_s) * 1000 for each in (untriggered, ours)]
    ratio = f"{bulk[1] / bulk[0]:.2f} x untriggered"
    row(f"{ROWS} rows at once, ms", [f"{ms:.0f}" for ms in bulk] + ["-"], ratio, "at most 2.5")


if __name__ == "__main__":
    main()
