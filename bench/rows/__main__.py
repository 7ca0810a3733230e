"""`python -m bench.rows`: the cost of a changed row with 1, 100 and 10 000 subscribers that filter the table.

Every subscriber is of another tenant, so one of them receives each row. Beside it, interleaved in the same run: the
same for flags, each subscriber with a flag of its own; subscribers with one filter without an equality; and, with
`--database URL`, a bare psycopg loop that asks the database for each subscriber, `select … where`, whenever a row has
changed. Times are of the processor, in microseconds for each changed row; memory is what Python allocates for each of
10 000 subscribers, of which every one sends its own message, also for those whose token imposes a filter.
"""

import argparse
import gc
import json
import statistics
import time
import tracemalloc
from collections.abc import Callable, Mapping
from typing import Any

import psycopg

from cdc.core.flags.catalog import Catalog
from cdc.core.freshness import Freshness
from cdc.core.log.change import Change, Commit, Op
from cdc.core.log.lane import FLAGS, WatchedTable
from cdc.core.log.position import LogId, Position
from cdc.core.log.row_text import RowText
from cdc.core.log.table_column import TableColumn
from cdc.core.subscription.grant import Grant
from cdc.core.subscription.lane_map import LaneMap
from cdc.core.subscription.selection import Selection, Selections
from cdc.core.wire.dialect import ENVELOPES
from cdc.core.wire.format import Format
from cdc.core.wire.message import Subscribe, parse_message
from cdc.fanout.hub import Hub
from cdc.fanout.limits import HubLimits
from cdc.fanout.subscriber import CloseReason, Subscriber
from cdc.filters.compiler import FilterCompiler, claim_paths

COUNTS = (1, 100, 10_000)
FORMAT = Format(ENVELOPES)
TENANTS = LaneMap(
    (
        WatchedTable(
            "shop",
            "orders",
            FLAGS,
            (
                TableColumn("id", "integer", "int4", is_key=True),
                TableColumn("tenant_id", "integer", "int4"),
                TableColumn("status", "text", "text"),
                TableColumn("total", "numeric", "numeric"),
            ),
        ),
    )
)


class NoSink:
    """Takes everything and keeps nothing."""

    socket = None
    received = 0

    def write(self, data: bytes | memoryview) -> None:
        NoSink.received += 1

    def close(self, reason: CloseReason, text: str) -> None:
        raise AssertionError("a sink that takes everything is never closed")

    def heard_since_last_ping(self) -> bool:
        return True


class Scene:
    """One hub with subscribers, and commits for it, one change each."""

    def __init__(self, select: Callable[[int], Selection], count: int) -> None:
        catalog = Catalog(LogId("bench"))
        catalog.attach("public")
        self.hub = Hub(catalog, HubLimits(), lambda: Freshness(True, 0))
        self._position = 0
        gc.collect()
        tracemalloc.start()
        compiler = FilterCompiler()
        for number in range(count):
            selection = compiler.compiled(select(number), TENANTS)
            self.hub.subscribe(Subscriber(NoSink(), self.hub, FORMAT, Selections((selection,))))
        self._compiler = compiler  # it holds the filters that are in use, as a server does
        self.bytes_each = tracemalloc.get_traced_memory()[0] / count
        tracemalloc.stop()

    def publish(self, change: Change) -> float:
        """Microseconds of the processor."""
        self._position += 1
        at = "2026-11-30T10:00:00.000000Z"
        commit = Commit(Position(self._position), at, self._position, "shop", "bench", (change,))
        begin = time.process_time_ns()
        self.hub.publish([commit])
        return (time.process_time_ns() - begin) / 1000


def row(number: int, count: int) -> Change:
    """An update of a row of one of `count` tenants."""

    def image(total: str) -> RowText:
        values = {"id": number, "tenant_id": number % count, "status": "open", "total": 0, "note": "x" * 300}
        return RowText(json.dumps(values).replace('"total": 0', f'"total": {total}'))

    key = RowText(f'{{"id" : {number}}}')
    return Change("shop", "orders", Op.UPDATE, image("1.10"), image("2.20"), key)


def flag(number: int, count: int) -> Change:
    """An insertion of one of `count` flags, or its deletion when it is there: one event either way."""
    id = number % count + 1
    values: dict[str, Any] = {
        "id": id,
        "key": f"flag_{id}",
        "description": "x" * 600,
        "enabled": True,
        "deleted_at": None,
    }
    is_new = (number // count) % 2 == 0
    before, after = (None, RowText.of(values)) if is_new else (RowText.of(values), None)
    return Change("public", "flags", Op.INSERT if is_new else Op.DELETE, before, after)


def asked(message: Mapping[str, Any]) -> Selection:
    """What a client's message selects, read from its text as a server reads it: nothing is shared with another's."""
    found = parse_message(json.dumps({"type": "subscribe", **message}))
    assert isinstance(found, Subscribe)
    return found.selections[0]


def filtered(number: int) -> Selection:
    where = "tenant_id = $1 and status <> 'paid'"
    return asked({"tables": [{"name": "shop.orders", "where": where, "params": [number]}]})


def of_flags(number: int) -> Selection:
    return asked({"flags": [f"flag_{number + 1}"]})


def of_flags_claimed(number: int) -> Selection:
    grant = Grant.parse(json.loads(json.dumps({"flags": [f"flag_{number + 1}"]})))
    return of_flags(number).within(grant)


def claimed(number: int) -> Selection:
    """A client without a filter of its own, and a token with a claim."""
    rule = {"where": "tenant_id = claim('tenant_id') and status <> 'paid'"}
    grant = Grant.parse(json.loads(json.dumps({"rows": {"shop.orders": rule}})))
    return asked({"tables": ["shop.orders"]}).within(grant.with_claims({"tenant_id": number}, claim_paths))


def without_equality(number: int) -> Selection:
    return asked({"tables": [{"name": "shop.orders", "where": "total > 1000000"}]})


SUBSCRIBERS = {
    "a flag": of_flags,
    "a filter with a parameter": filtered,
    "a flag, which a token allows": of_flags_claimed,
    "a filter that a token's claim imposes": claimed,
    "one filter without an equality": without_equality,
}


def polling(url: str, count: int, rows: int) -> float:
    """A bare LISTEN loop that asks for each subscriber what it may see of the row that has changed."""
    with psycopg.connect(url, autocommit=True) as listener, psycopg.connect(url, autocommit=True) as asking:
        asking.execute("drop table if exists bench_rows")
        asking.execute(
            "create table bench_rows (id integer primary key, tenant_id integer, status text, total numeric)"
        )
        asking.execute("insert into bench_rows select i, i %% %s, 'open', 1 from generate_series(1, 1000) i", (count,))
        listener.execute("listen bench_rows")
        begin = time.perf_counter()
        for number in range(1, rows + 1):
            asking.execute("update bench_rows set total = total + 1 where id = %s", (number,))
            asking.execute("select pg_notify('bench_rows', %s)", (str(number),))
            for notification in listener.notifies(timeout=5, stop_after=1):
                for tenant in range(count):
                    asking.execute(
                        "select to_json(r) from bench_rows r where id = %s and tenant_id = %s and status <> 'paid'",
                        (int(notification.payload), tenant),
                    ).fetchall()
        asking.execute("drop table bench_rows")
        return (time.perf_counter() - begin) * 1e6 / rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.rows", description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000, help="changed rows for each number of subscribers")
    parser.add_argument("--database", metavar="URL", help="also measure a loop that asks this database")
    options = parser.parse_args()
    FilterCompiler().compiled(filtered(0), TENANTS)  # the parser is imported at its first use
    print("| subscribers | filtered row | flag | ratio | one filter without an equality |")
    print("|---|---|---|---|---|")
    for count in COUNTS:
        scenes: list[tuple[Scene, Callable[[int, int], Change]]] = [
            (Scene(filtered, count), row),
            (Scene(of_flags, count), flag),
            (Scene(without_equality, count), row),
        ]
        times: list[list[float]] = [[], [], []]
        for number in range(options.rows):
            for (scene, change), measured in zip(scenes, times, strict=True):
                measured.append(scene.publish(change(number, count)))
        rows_us, flags_us, others_us = (statistics.median(measured) for measured in times)
        print(f"| {count:,} | {rows_us:.0f} µs | {flags_us:.0f} µs | {rows_us / flags_us:.2f} | {others_us:.0f} µs |")
    of_flags_bytes = Scene(of_flags, COUNTS[-1]).bytes_each
    print("\n| subscriber | bytes | of a flag's |\n|---|---|---|")
    for name, select in SUBSCRIBERS.items():
        size = Scene(select, COUNTS[-1]).bytes_each
        print(f"| {name} | {size:,.0f} | {size / of_flags_bytes:.2f} |")
    if options.database is not None:
        for count in COUNTS:
            rows = 5 if count > 100 else 200
            print(f"asking the database, {count:,} subscribers: {polling(options.database, count, rows):,.0f} µs a row")


if __name__ == "__main__":
    main()
