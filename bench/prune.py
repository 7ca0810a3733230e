"""What pruning costs the writers: their latency while millions of changes are deleted, compared with no pruning.

    python -m bench.prune [--changes 2000000] [--clients 2] [--seconds 60] [--data-dir DIR]

The change log is filled with old commits, some with one change and some with many. Then each writer updates one flag
per transaction, repeatedly: first without pruning, then while the pruner alternates between on and off every few
seconds. All phases share the machine, so the ratios hold on a busy one too. The pruner is the server's, at its usual
pace. At the end the change log is checked: only old commits are gone, none of the writers' is missing, and freed space
was reused.

Filling takes longer than measuring and needs no quiet machine: with `--data-dir` the first run fills a change log there
and exits, and the next run measures and deletes it.
"""

import argparse
import asyncio
import os
import platform
import shutil
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import psycopg

from bench.writer import arm, embedded, furnish
from cdc.postgres.pruner import Pruner, Retention, keep_at_least

BEFORE_S = 10.0
OFF_S = 3.0
ON_S = 9.0

# One in ten commits has 91 changes, so each of the two change tables gets about half of the changes.
FILL = """
with made as (
    insert into flagent_cdc.commit_log (
        position, transaction_group, xid, committed_at, changes, session_user_name, application_name
    )
    select nextval('flagent_cdc.commit_position'), nextval('flagent_cdc.transaction_group'), '3',
           now() - interval '30 days' + n * interval '1 ms', case when mod(n, 10) = 0 then 91 else 1 end,
           'bench', 'bench'
      from generate_series(1, %(commits)s) n
    returning transaction_group, changes
),
image as (select to_json(f) as row from public.flags f limit 1),
first_ones as (
    insert into flagent_cdc.change_log_first (transaction_group, id, schema_name, table_name, op, before, after)
    select m.transaction_group, 1, 'public', 'flags', 'update', i.row, i.row from made m, image i
)
insert into flagent_cdc.change_log (transaction_group, id, schema_name, table_name, op, before, after)
select m.transaction_group, id, 'public', 'flags', 'update', i.row, i.row
  from made m, image i, generate_series(2, m.changes) id
"""


# The state of the pruner, with its start and its end.
Phase = tuple[str, float, float]


class FlagWriter(threading.Thread):
    """One writer: updates its flag once per transaction, and records when each commit began and how long it took."""

    def __init__(self, url: str, number: int) -> None:
        super().__init__(daemon=True)
        self._url = url
        self._number = number
        self.must_stop = threading.Event()
        self.took: list[tuple[float, float]] = []

    def run(self) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            while not self.must_stop.is_set():
                began = time.perf_counter()
                connection.execute(
                    "update public.flags set enabled = not enabled where id = %s", (self._number + 1,), prepare=True
                )
                self.took.append((began, time.perf_counter() - began))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.prune", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--changes", type=int, default=2_000_000, help="old changes in the log (default 2000000)")
    parser.add_argument("--clients", type=int, default=2, help="concurrent writers (default 2)")
    parser.add_argument("--seconds", type=float, default=60.0, help="maximum duration (default 60)")
    database = parser.add_mutually_exclusive_group()
    database.add_argument("--database-url", help="a server; default: an embedded one")
    database.add_argument("--data-dir", type=Path, help="fill a change log there and exit, or measure an existing one")
    options = parser.parse_args(arguments)
    with ExitStack() as stack:
        if options.data_dir is None:
            server = options.database_url or stack.enter_context(embedded(autovacuum="on")).url
            url = stack.enter_context(arm(server, "flagent-cdc")).url
            fill(url, options.changes)
        else:
            is_filled = (options.data_dir / "filled").exists()
            url = stack.enter_context(embedded(options.data_dir, autovacuum="on")).url
            if not is_filled:
                furnish(url, "flagent-cdc")
                fill(url, options.changes)
                (options.data_dir / "filled").touch()
                return
        failures = measure(url, options.clients, options.seconds)
    if options.data_dir is not None:
        shutil.rmtree(options.data_dir)
    if failures:
        sys.exit("\n".join(["FAILED", *failures]))
    print("only old commits were pruned, no other is missing")


def measure(url: str, clients: int, seconds: float) -> list[str]:
    """Measure, and return what is wrong with the change log afterwards."""
    keep_at_least(url, 0.0)
    before = totals(url)
    print(
        f"{os.cpu_count()} CPUs, {platform.machine()}; the change log holds {before[1]} changes in {before[0]} commits"
    )
    print(f"{before[2] / 2**20:.0f} MiB on disk; {clients} writers", flush=True)
    writers = [FlagWriter(url, number) for number in range(clients)]
    for writer in writers:
        writer.start()
    phases, pruned = asyncio.run(alternate(url, seconds))
    for writer in writers:
        writer.must_stop.set()
    for writer in writers:
        writer.join()
    report(writers, phases, pruned)
    after = totals(url)
    print(f"the change log holds {after[1]} changes, {after[2] / 2**20:.0f} MiB on disk")
    written = sum(len(writer.took) for writer in writers)
    if after[0] != before[0] - pruned[0] + written:
        return [f"{before[0]} commits, {pruned[0]} pruned and {written} written, but {after[0]} are in the change log"]
    return []


def fill(url: str, changes: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        # Age the commit of the attachment: only the beginning of the change log can be pruned.
        connection.execute("update flagent_cdc.commit_log set committed_at = now() - interval '31 days'")
        # These rows are made up, so no trigger may give them a position.
        connection.execute("alter table flagent_cdc.change_log_first disable trigger flagent_cdc_900_assign_position")
        for _ in range(10):
            connection.execute(FILL, {"commits": changes // 100})
        connection.execute(
            "alter table flagent_cdc.change_log_first enable always trigger flagent_cdc_900_assign_position"
        )
        connection.execute(
            "vacuum analyze flagent_cdc.change_log, flagent_cdc.change_log_first, flagent_cdc.commit_log"
        )
        connection.execute("checkpoint")


def totals(url: str) -> tuple[int, int, int]:
    """Commits, changes, and bytes on disk."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "select (select count(*) from flagent_cdc.commit_log), (select count(*) from flagent_cdc.change_log),"
            " pg_total_relation_size('flagent_cdc.commit_log') + pg_total_relation_size('flagent_cdc.change_log')"
            " + pg_total_relation_size('flagent_cdc.change_log_first')"
        ).fetchone()
    assert row is not None
    return row[0], row[1], row[2]


async def alternate(url: str, seconds: float) -> tuple[list[Phase], tuple[int, int, float]]:
    """Prune in phases until nothing old is left; the phases, and the pruned commits, changes and seconds."""
    phases: list[Phase] = []
    commits = changes = 0
    pruning_s = 0.0
    began = time.perf_counter()
    await asyncio.sleep(1.0)  # the writers warm up
    start = time.perf_counter()
    await asyncio.sleep(BEFORE_S)
    phases.append(("before", start, time.perf_counter()))
    while time.perf_counter() - began < seconds:
        start = time.perf_counter()
        pruned = await Pruner(url, Retention(86_400.0, None)).prune(at_most_s=ON_S)
        if not pruned.commits:
            break
        end = time.perf_counter()
        phases.append(("pruning", start, end))
        commits, changes, pruning_s = commits + pruned.commits, changes + pruned.changes, pruning_s + end - start
        await asyncio.sleep(OFF_S)
        phases.append(("in between", end, time.perf_counter()))
    return phases, (commits, changes, pruning_s)


def report(writers: list[FlagWriter], phases: list[Phase], pruned: tuple[int, int, float]) -> None:
    p99 = {}
    print(f"{'':<12}{'commits/s':>12}{'p50 ms':>10}{'p99 ms':>10}{'p99.9 ms':>10}")
    for kind in ("before", "in between", "pruning"):
        spans = [(start, end) for name, start, end in phases if name == kind]
        took = sorted(
            took
            for writer in writers
            for began, took in writer.took
            if any(start <= began < end for start, end in spans)
        )
        p50, p99[kind], p999 = (took[int(len(took) * share)] for share in (0.5, 0.99, 0.999))
        cells = "".join(f"{seconds * 1000:>10.3f}" for seconds in (p50, p99[kind], p999))
        print(f"{kind:<12}{len(took) / sum(end - start for start, end in spans):>12.0f}{cells}")
    print(f"pruned {pruned[1]} changes in {pruned[0]} commits, {pruned[1] / pruned[2]:.0f} changes/s while pruning")
    for rest in ("before", "in between"):
        ratio = p99["pruning"] / p99[rest]
        print(f"p99 while pruning {ratio:.2f} x {rest}, target at most 1.5: {'met' if ratio <= 1.5 else 'MISSED'}")


if __name__ == "__main__":
    main()
