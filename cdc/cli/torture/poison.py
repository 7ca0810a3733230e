"""Poison: rows with values that break readers, and a subscriber that must not notice them.

The table is in the flags' lane: what breaks a reader of its rows breaks everybody who follows flags.
"""

import asyncio
import random
import re
from collections.abc import Iterator, Mapping
from typing import Any

import httpx2
import psycopg
from psycopg.sql import SQL, Identifier

from cdc.admin.watched_tables import WatchOptions, unwatch, watch
from cdc.cli.sse import Block
from cdc.cli.torture.event_stream import read_stream
from cdc.cli.torture.verdict import Kind, Violation
from cdc.core.log.position import EventId
from cdc.database.database_url import redact
from cdc.database.driver_errors import driver_errors
from cdc.database.lock_retry import connect
from cdc.database.queries import query

__all__ = ["TABLE", "PoisonTable", "RowSubscriber", "write_poison"]

TABLE = "torture_poison"

_IDS = range(1, 25)

# As the writers' parameters. A row of more than 4 MiB cannot be delivered, the others are delivered to the letter.
_PLAIN: Mapping[str, object] = {"amount": "1.10", "document": '{"a": 1}', "length": 3}
_POISON: tuple[Mapping[str, object], ...] = (
    {"amount": "1" + "0" * 5_000},
    {"amount": "-1e-8000"},
    {"amount": "1e400"},
    {"amount": "NaN"},
    {"document": "[" * 3_000 + "]" * 3_000},
    {"document": r'{"a": "\u0000"}'},
    {"document": r'"\ud800"'},
    {"document": "1e999999"},
    {"document": '{"a": 1, "a": 2}'},
    {"length": 300_000},
    {"length": 5_000_000},
)

# Of the row only what every image begins with is read: its values are those that no reader takes.
_KEY = re.compile(r'"key":\{"id" ?: ?([0-9]+)\}')
_AFTER = re.compile(r'"after":\{"id":[0-9]+,"mark":([0-9]+)[,}]')
_ROW = re.compile(r'\{"key":\{"id" ?: ?([0-9]+)\},"row":(?:\{"id":[0-9]+,"mark":([0-9]+)[,}]|null)')


def write_poison(connection: psycopg.Connection[Any], rng: random.Random, mark: int) -> None:
    """Write a row or two, in the open transaction; most of them are poison."""
    for id in sorted(rng.sample(_IDS, rng.choice([1, 1, 2]))):
        if rng.random() < 0.2:
            connection.execute(query("torture_poison_delete"), {"id": id})
        else:
            values = {**_PLAIN, **rng.choice((_PLAIN, *_POISON))}
            connection.execute(query("torture_poison"), {"id": id, "mark": mark, **values})


class PoisonTable:
    """The table in the schema of a run."""

    def __init__(self, url: str, schema: str) -> None:
        self._url = url
        self._schema = schema

    def create(self) -> None:
        with driver_errors(redact(self._url)), connect(self._url) as connection, connection.transaction():
            connection.execute(SQL("set local search_path to {}").format(Identifier(self._schema)))
            connection.execute(query("torture_poison_table"))
        watch(self._url, f"{self._schema}.{TABLE}", WatchOptions(), report=_silent)

    def remove(self) -> None:
        unwatch(self._url, f"{self._schema}.{TABLE}", report=_silent)

    def marks(self) -> dict[int, int | None]:
        """The mark of each row by its id; None where the row cannot be delivered."""
        with driver_errors(redact(self._url)), connect(self._url) as connection:
            statement = SQL(query("torture_poison_marks")).format(table=Identifier(self._schema, TABLE))
            return dict(connection.execute(statement).fetchall())


class RowSubscriber:
    """Follows the rows over an event stream, and keeps the mark of each; reconnects whenever the stream ends."""

    def __init__(self, ports: tuple[int, ...], schema: str, seed: str) -> None:
        self._ports = ports
        self._schema = schema
        self._rng = random.Random(seed)  # noqa: S311 - repeatable, not secret
        self.last_id: EventId | None = None
        self.marks: dict[int, int | None] = {}
        self.events = 0
        self.unreadable = 0

    async def run(self) -> None:
        """Receive until cancelled."""
        while True:
            try:
                if self.last_id is None:
                    self.marks.clear()
                selection = {"table": f"{self._schema}.{TABLE}"}
                async for block in read_stream(self._rng.choice(self._ports), selection, self.last_id):
                    if block is not None and not self.take(block):
                        break
            except (httpx2.HTTPError, OSError, TimeoutError):
                # The server was killed or is not ready again, or the link is disconnected.
                await asyncio.sleep(self._rng.uniform(0.02, 0.2))

    def take(self, block: Block) -> bool:
        """Apply a block; false if the rows must be read again."""
        data = block.data or ""
        if block.event in ("resync", "backfill_failed"):
            self.last_id = None
            return False
        if block.event == "rows":
            self.marks |= {int(id): int(mark) if mark else None for id, mark in _ROW.findall(data)}
        elif (key := _KEY.search(data)) is not None:
            self.events += 1
            id, after = int(key[1]), _AFTER.search(data)
            self.unreadable += '"unreadable":"' in data
            if block.event == "row_deleted":
                self.marks.pop(id, None)
            else:
                self.marks[id] = int(after[1]) if after else None
        # Events before `rows_end` have no id: a client that reconnects then begins again.
        if block.id is not None and (self.last_id is not None or block.event == "rows_end"):
            self.last_id = EventId.parse(block.id)
        return True

    def violations(self, held: Mapping[int, int | None]) -> Iterator[Violation]:
        """Where the copy differs from the table. None is a row that could not be delivered: it must be there."""
        for id in sorted(self.marks.keys() | held.keys()):
            have, want = self.marks.get(id, "nothing"), held.get(id, "nothing")
            if have != want and (have == "nothing" or want == "nothing" or None not in (have, want)):
                yield Violation(Kind.DIVERGED, f"the row subscriber has {have} for row {id}, and the table {want}")


def _silent(_line: str) -> None:
    """Reports are about the run, not about its set-up."""
