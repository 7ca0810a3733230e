"""Snapshots of a lane in the object store, and a pointer to the newest one in the key-value bucket.

A node loads the newest snapshot and reads the JetStream stream after `sequence`: each commit there is later, or in the
snapshot already. Every snapshot has a new name, so none is replaced while it is read. The pointer is written last, and
names the revision that it replaces, so a relay that was superseded cannot point back to an old snapshot.
"""

import asyncio
import json
import logging
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import nats.errors
import nats.js.errors
from nats.js.client import JetStreamContext

from ..core.log.position import LogId, Position
from ..core.log.row_text import RowText, read_row
from ..core.text.exact_json import JsonText, read_array, read_members, read_object
from ..core.text.json_text import encode_members
from ..errors import NatsUnavailable
from ..source.log import Bootstrap, CommitFingerprint
from .layout import Layout

__all__ = ["Pointer", "Snapshot", "read_pointer", "read_snapshot", "write_snapshot", "written_at"]

logger = logging.getLogger(__name__)

_KEY = "snapshot"
_READ_S = 60.0
_TIDY_S = 10.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a lane. `sequence` is that of the last message when it was read, `database` the database's name."""

    bootstrap: Bootstrap
    sequence: int
    database: str | None


@dataclass(frozen=True, slots=True)
class Pointer:
    """Where the newest snapshot is; `revision` is the pointer's own, 0 for none.

    `database` is None in a pointer from an older relay.
    """

    object: str
    log: LogId
    position: Position
    stamp: CommitFingerprint | None
    sequence: int
    schemas: tuple[str, ...]
    database: str | None
    revision: int = 0


async def read_pointer(jetstream: JetStreamContext, layout: Layout) -> Pointer | None:
    """None while there is no snapshot."""
    try:
        state = await jetstream.key_value(layout.state)
        entry = await state.get(_KEY)
    except nats.js.errors.NotFoundError:
        return None
    raw = json.loads(entry.value or b"{}")
    return Pointer(
        raw["object"],
        LogId(raw["log"]),
        Position(raw["position"]),
        _stamp(raw["stamp"]),
        raw["sequence"],
        tuple(raw["schemas"]),
        raw.get("database"),
        entry.revision or 0,
    )


async def written_at(jetstream: JetStreamContext, layout: Layout) -> datetime:
    """When the pointer was written, by the clock of NATS; raises the driver's errors where there is none."""
    message = await jetstream.get_last_msg(f"KV_{layout.state}", f"$KV.{layout.state}.{_KEY}", direct=True)
    assert message.time is not None, "JetStream stores the time of every message"
    return message.time


async def read_snapshot(jetstream: JetStreamContext, layout: Layout) -> Snapshot:
    """The newest; raises `NatsUnavailable` while there is none."""
    pointer = await read_pointer(jetstream, layout)
    if pointer is None:
        raise NatsUnavailable(f"there is no snapshot in {layout.state!r} yet; `flagent-cdc relay` writes one")
    store = await jetstream.object_store(layout.snapshots)
    async with asyncio.timeout(_READ_S):
        found = await store.get(pointer.object)
    raw = await asyncio.to_thread(_decode, found.data or b"")
    bootstrap = Bootstrap(LogId(raw["log"]), Position(raw["position"]), _stamp(raw["stamp"]), raw["schemas"])
    return Snapshot(bootstrap, pointer.sequence, pointer.database)


async def write_snapshot(
    jetstream: JetStreamContext, layout: Layout, snapshot: Snapshot, last: Pointer | None
) -> Pointer:
    """Put a snapshot and point to it; `last` is the pointer that it replaces. Raises the driver's errors."""
    bootstrap = snapshot.bootstrap
    stamp = None if bootstrap.stamp is None else [bootstrap.stamp.committed_at, bootstrap.stamp.xid]
    head = {
        "log": bootstrap.log,
        "position": bootstrap.position,
        "stamp": [bootstrap.position, *stamp] if stamp else None,
    }
    data = await asyncio.to_thread(_encode, head, bootstrap.schemas)
    store = await jetstream.object_store(layout.snapshots)
    revision = 0 if last is None else last.revision
    name = f"{bootstrap.log}-{bootstrap.position}-{snapshot.sequence}-{revision}"
    await store.put(name, data)
    schemas = tuple(bootstrap.schemas)
    pointer = {
        **head,
        "object": name,
        "sequence": snapshot.sequence,
        "schemas": schemas,
        "database": snapshot.database,
    }
    state = await jetstream.key_value(layout.state)
    revision = await state.update(_KEY, json.dumps(pointer).encode(), last=revision)
    logger.info(
        "Snapshot written",
        extra={"action": "snapshot_written", "position": bootstrap.position, "size_bytes": len(data)},
    )
    # The one before stays, for nodes that are reading it.
    await _delete_all_but(jetstream, layout, {name, "" if last is None else last.object})
    return Pointer(
        name,
        bootstrap.log,
        bootstrap.position,
        bootstrap.stamp,
        snapshot.sequence,
        schemas,
        snapshot.database,
        revision,
    )


async def _delete_all_but(jetstream: JetStreamContext, layout: Layout, kept: set[str]) -> None:
    try:
        store = await jetstream.object_store(layout.snapshots)
        async with asyncio.timeout(_TIDY_S):
            for each in await store.list(ignore_deletes=True):
                if each.name not in kept:
                    await store.delete(each.name)
    except (nats.errors.Error, TimeoutError) as error:
        # They only take space; the next snapshot tries again.
        logger.warning(
            "Old snapshots were not deleted", extra={"action": "snapshot_cleanup_failed", "reason": str(error)}
        )


def _stamp(raw: Any) -> CommitFingerprint | None:
    return None if raw is None else CommitFingerprint(Position(raw[0]), raw[1], raw[2])


def _encode(head: Mapping[str, Any], schemas: Mapping[str, Mapping[str, Sequence[RowText]]]) -> bytes:
    texts = {
        schema: _object({name: _array(rows) for name, rows in tables.items()}) for schema, tables in schemas.items()
    }
    text = encode_members({**head, "schemas": _object(texts)})
    return zlib.compress(text.encode("utf-8", "surrogateescape"), 1)


def _array(rows: Sequence[RowText]) -> JsonText:
    return JsonText(f"[{','.join([row.text for row in rows])}]")


def _object(members: Mapping[str, JsonText]) -> JsonText:
    return JsonText(encode_members(members))


def _decode(data: bytes) -> dict[str, Any]:
    text = zlib.decompress(data).decode("utf-8", "surrogateescape")
    return read_object(text, 0, {"schemas": _read_schemas})[0]


def _read_schemas(text: str, at: int) -> tuple[dict[str, Any], int]:
    return read_members(text, at, _read_tables)


def _read_tables(text: str, at: int) -> tuple[dict[str, Any], int]:
    return read_members(text, at, _read_rows)


def _read_rows(text: str, at: int) -> tuple[list[Any], int]:
    return read_array(text, at, read_row)
