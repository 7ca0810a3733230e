"""What pruning costs the writers: their latency while millions of changes are deleted, beside their latency at rest.

    python -m bench.prune [--changes 2000000] [--clients 2] [--seconds 30]

The log is filled with old commits, with one and with many changes. Then writers update one flag each per transaction,
over and over, while the pruner is on and off in turns of some seconds: the two share everything, so the ratio holds on
a busy machine too. The pruner is the server's own, with its own pace. At the end the log is looked at: only old commits
are gone, none of the writers' is missing, and what vacuum made free was used again.
"""

import argparse
import asyncio
import os
import platform
import sys
import threading
import time
from contextlib import ExitStack

import psycopg

from bench.writer import arm, embedded
from cdc.pruner import Pruner, Retention, keep_at_least

TURN_S = 3.0

# One in ten commits is a bulk change of 91, so half of the changes stand in each part of the log, about.
FILL = """
with made as (
    insert into flagent_cdc.commit_log (
        position, batch, xid, committed_at, changes, session_user_name, application_name
    )
    select nextval('flagent_cdc.commit_position'), nextval('flagent_cdc.change_batch'), '3',
           now() - interval '30 days' + n * interval '1 ms', case when mod(n, 10) = 0 then 91 else 1 end,
           'bench', 'bench'
      from generate_series(1, %(commits)s) n
    returning batch, changes
),
image as (select to_json(f) as row from public.flags f limit 1),
first_ones as (
    insert into flagent_cdc.change_log_first (batch, id, schema_name, table_name, op, before, after)
    select m.batch, 1, 'public', 'flags', 'update', i.row, i.row from made m, image i
)
insert into flagent_cdc.change_log (batch, id, schema_name, table_name, op, before, after)
select m.batch, id, 'public', 'flags', 'update', i.row, i.row
  from made m, image i, generate_series(2, m.changes) id
"""


class Load(threading.Thread):
    """One writer: updates a flag of its own per transaction; notes when each commit began and what it took."""

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
    parser.add_argument("--clients", type=int, default=2, help="writers at the same time (default 2)")
    parser.add_argument("--seconds", type=float, default=60.0, help="at most so long (default 60)")
    parser.add_argument("--database-url", help="a server to use, instead of an embedded one")
    options = parser.parse_args(arguments)
    with ExitStack() as stack:
        url = options.database_url or stack.enter_context(embedded(autovacuum="on")).url
        ours = stack.enter_context(arm(url, "flagent-cdc"))
        fill(ours.url, options.changes)
        keep_at_least(ours.url, 0.0)
        before = totals(ours.url)
        print(f"{os.cpu_count()} CPUs, {platform.machine()}; the log holds {before[1]} changes in {before[0]} commits")
        print(f"{before[2] / 2**20:.0f} MiB on disk; {options.clients} writers", flush=True)
        writers = [Load(ours.url, number) for number in range(options.clients)]
        for writer in writers:
            writer.start()
        turns, pruned = asyncio.run(alternate(ours.url, options.seconds))
        for writer in writers:
            writer.must_stop.set()
        for writer in writers:
            writer.join()
        report(writers, turns, pruned)
        failures = []
        after = totals(ours.url)
        written = sum(len(writer.took) for writer in writers)
        if after[0] != before[0] - pruned[0] + written:
            failures.append(f"{before[0]} commits less {pruned[0]} and {written} more are {after[0]} in the log")
        print(f"the log holds {after[1]} changes, {after[2] / 2**20:.0f} MiB on disk")
    if failures:
        sys.exit("\n".join(["FAILED", *failures]))
    print("only old commits are gone, no other is missing")


def fill(url: str, changes: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        # The one that is there, of the attachment; only a beginning of the log can go.
        connection.execute("update flagent_cdc.commit_log set committed_at = now() - interval '31 days'")
        # What is laid here was never written by anybody, and is not to be sealed.
        connection.execute("alter table flagent_cdc.change_log_first disable trigger flagent_cdc_900_seal")
        for _ in range(10):
            connection.execute(FILL, {"commits": changes // 100})
        connection.execute("alter table flagent_cdc.change_log_first enable always trigger flagent_cdc_900_seal")
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


async def alternate(url: str, seconds: float) -> tuple[list[tuple[float, float, bool]], tuple[int, int, float]]:
    """Prune in every second turn until nothing old is left; the turns, and commits, changes and time of the pruning."""
    turns: list[tuple[float, float, bool]] = []
    commits = changes = 0
    pruning_s = 0.0
    began = time.perf_counter()
    await asyncio.sleep(1.0)  # the writers warm up
    while time.perf_counter() - began < seconds:
        is_on = len(turns) % 2 == 1
        start = time.perf_counter()
        gone = 0
        if is_on:
            pruned = await Pruner(url, Retention(86_400.0, None)).prune(at_most_s=TURN_S)
            gone = pruned.commits
            commits, changes = commits + pruned.commits, changes + pruned.changes
            pruning_s += time.perf_counter() - start
        else:
            await asyncio.sleep(TURN_S)
        if not is_on or gone:
            turns.append((start, time.perf_counter(), is_on))
        else:
            break
    return turns, (commits, changes, pruning_s)


def report(writers: list[Load], turns: list[tuple[float, float, bool]], pruned: tuple[int, int, float]) -> None:
    samples: dict[bool, list[float]] = {False: [], True: []}
    spent = {False: 0.0, True: 0.0}
    for start, end, is_on in turns:
        spent[is_on] += end - start
        for writer in writers:
            samples[is_on] += [took for began, took in writer.took if start <= began < end]
    print(f"{'':<12}{'commits/s':>12}{'p50 ms':>10}{'p99 ms':>10}{'p99.9 ms':>10}")
    for is_on, name in ((False, "at rest"), (True, "pruning")):
        took = sorted(samples[is_on])
        cells = [took[int(len(took) * share)] * 1000 for share in (0.5, 0.99, 0.999)]
        print(f"{name:<12}{len(took) / spent[is_on]:>12.0f}" + "".join(f"{ms:>10.3f}" for ms in cells))
    p99 = {is_on: sorted(took)[int(len(took) * 0.99)] for is_on, took in samples.items()}
    ratio = p99[True] / p99[False]
    print(f"pruned {pruned[1]} changes in {pruned[0]} commits, {pruned[1] / pruned[2]:.0f} changes/s while it was on")
    print(f"p99 while pruning {ratio:.2f} x at rest, target at most 1.5: {'met' if ratio <= 1.5 else 'MISSED'}")


if __name__ == "__main__":
    main()
