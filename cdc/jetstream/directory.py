"""Which tables are watched, and in which lanes, as the relay publishes it."""

import json
from collections.abc import Sequence

import nats.js.errors
from nats.js.client import JetStreamContext

from ..core.log.lane import Lane, WatchedTable
from ..core.log.table_column import TableColumn
from ..errors import NatsUnavailable
from .address import NatsAddress
from .connection import Link
from .layout import Layout

__all__ = ["JetStreamDirectory", "write_lanes"]

_KEY = "lanes"


class JetStreamDirectory:
    """The port `LaneDirectory` of a tier: an entry of the key-value bucket."""

    def __init__(self, address: NatsAddress, layout: Layout) -> None:
        self._layout = layout
        self._link = Link(address, "lanes")

    async def watched_lanes(self) -> Sequence[WatchedTable]:
        async with self._link.use() as jetstream:
            try:
                entry = await (await jetstream.key_value(self._layout.state)).get(_KEY)
            except nats.js.errors.NotFoundError as error:
                raise NatsUnavailable(
                    f"{self._layout.state!r} does not list the lanes yet; is a relay running?"
                ) from error
        return [
            WatchedTable(
                raw["schema"],
                raw["table"],
                Lane(raw["lane"], raw["id"], raw["order"]),
                tuple(TableColumn.of_json(column) for column in raw.get("columns", ())),
            )
            for raw in json.loads(entry.value or b"[]")
        ]

    async def close(self) -> None:
        await self._link.close()


async def write_lanes(jetstream: JetStreamContext, layout: Layout, tables: Sequence[WatchedTable]) -> None:
    entries = [
        {
            "schema": table.schema,
            "table": table.table,
            "lane": table.lane.name,
            "id": table.lane.id,
            "order": table.lane.order,
            "columns": [column.to_json() for column in table.columns],
        }
        for table in tables
    ]
    state = await jetstream.key_value(layout.state)
    await state.put(_KEY, json.dumps(entries).encode())
