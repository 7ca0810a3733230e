"""Follows flags and rows inside one's own program: the server's pipeline, with the program as its only subscriber."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterable, Mapping
from functools import partial

from api.streams.asgi_sink import AsgiSink
from cdc.core.errors import InvalidInput
from cdc.core.flags.events import EventType
from cdc.core.subscription.selection import Selection, Selections
from cdc.core.text.exact_json import read_any, read_object
from cdc.core.text.suggestion import did_you_mean
from cdc.core.wire.dialect import MESSAGES
from cdc.core.wire.format import Format
from cdc.database.connection import connect
from cdc.database.database_url import read_database_url
from cdc.fanout.subscriber import Subscriber
from cdc.node.pipeline import Pipeline
from cdc.node.pipelines import Pipelines
from cdc.postgres.upstream import PostgresUpstream

from .events import Event
from .settings import settings_of

__all__ = ["follow"]

# A line for each message, as for an ASGI server that frames them itself.
_LINES = Format(MESSAGES, is_framed=False)

_LOAD_S = 1.0

_PAUSE_S = 0.5


async def follow(
    database_url: str,
    *,
    flags: Iterable[str] = (),
    tags: Iterable[str] = (),
    tables: Iterable[str] = (),
    types: Iterable[str] = (),
    schemas: Iterable[str] = (),
    snapshot: bool = False,
    last_event_id: str | None = None,
    settings: Mapping[str, str] | None = None,
) -> AsyncGenerator[Event, None]:
    """The events of what is selected, in commit order, until the caller stops iterating.

    `flags` are keys, `tags` select all flags that have one, `tables` are watched tables such as `shop.orders`; they add
    up, and nothing selects all flags. `types` and `schemas` narrow that. With `snapshot` the first event is the present
    state (of a table: several, of the types `rows` and `rows_end`); with `last_event_id` what was missed after that id
    comes first, or a `resync` if it is not known any more.
    `settings` has names and values as the environment variables of the server.

    A connection that is lost is opened again, and what was missed meanwhile comes then. A program that does not take
    events for a long time gets a `resync` instead of those that memory does not hold.

    Raises `DatabaseError` or `InvalidInput` at the first step, if the database cannot be used or a name is not valid.
    The database must have been prepared with `flagent-cdc migrate`.
    """
    own = settings_of(database_url, settings)
    conninfo = read_database_url(database_url)
    selection = Selection.of(
        flag_keys=flags, tags=tags, tables=tables, types=[_type_of(each) for each in types], schemas=schemas
    )
    # The pipeline would wait for a database that is not there; a program is told at once.
    await (await connect(conninfo, name="follow")).close()
    upstream = PostgresUpstream(own, conninfo)
    pipeline = Pipeline(own, upstream)
    pipelines = Pipelines(pipeline, partial(Pipeline, own, upstream, tables=pipeline.tables), upstream.lanes())
    async with pipelines.running():
        while not await pipelines.loaded(_LOAD_S):
            pass
        await pipelines.learn_of(selection.tables)
        for table in sorted(selection.tables):
            if not pipelines.watches(table):
                raise InvalidInput(f"the table {table!r} is not watched", name="tables", code="unknown_table")
        last_id = last_event_id
        while True:
            following = _one_stream(pipelines, selection, last_id, snapshot=snapshot and last_id is None)
            async with contextlib.aclosing(following) as events:
                async for event in events:
                    last_id = event.id
                    if event.type != "heartbeat":
                        yield event
            # Closed by the hub, because the table moves to another lane or is not watched for the moment.
            await asyncio.sleep(_PAUSE_S)


async def _one_stream(
    pipelines: Pipelines, selection: Selection, last_id: str | None, *, snapshot: bool
) -> AsyncGenerator[Event, None]:
    """One subscription, until the hub closes it: its lane has changed, or its filter means something else now."""
    selections = Selections((pipelines.compiled(selection),))
    pipeline = pipelines.of(selections)
    while not await pipeline.loaded(_LOAD_S):
        pass
    sink = AsgiSink()
    sink.subscriber = subscriber = Subscriber(sink, pipeline.hub, _LINES, selections)
    pipeline.join(subscriber, first=[], last_event_id=last_id, snapshot=snapshot)
    try:
        # Without this id, a stream that is closed before its first event could not be resumed.
        if last_id is None and not snapshot:
            yield Event("heartbeat", str(pipeline.hub.here()), {})
        async for chunk in sink.chunks():
            for line in chunk.decode().splitlines():
                data, _ = read_object(line, 0, _ROWS)
                if "id" in data:
                    yield Event(str(data["type"]), str(data["id"]), data)
    finally:
        pipeline.leave(subscriber)


def _type_of(name: str) -> EventType:
    try:
        return EventType(name)
    except ValueError:
        raise InvalidInput(f"{name!r} is not a type of event{did_you_mean(name, EventType)}", name="types") from None


def _read_row(text: str, at: int) -> tuple[object, int]:
    """A row of which every column that Python can hold is decoded."""
    return read_object(text, at, {}) if text.startswith("{", at) else read_any(text, at)


_ROWS = dict.fromkeys(("key", "before", "after"), _read_row)
