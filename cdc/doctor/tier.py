"""Facts about a NATS tier, read as a node does: nothing is created, nothing written."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import nats.js.errors
from nats.js.client import JetStreamContext

from ..core.diagnosis import RelayFacts, SnapshotFacts, TierFacts
from ..errors import NatsError, NatsRefused, NatsUnavailable
from ..jetstream.address import NatsAddress
from ..jetstream.connection import Connection, connect, nats_errors
from ..jetstream.layout import Layout, Limits, differences
from ..jetstream.log import read_tail
from ..jetstream.relay_status import hear_relay
from ..jetstream.snapshot import read_pointer, written_at
from ..settings.settings import Settings
from .database import LogIdentity

__all__ = ["read_tier"]

_ANSWER_S = 3.0


def read_tier(settings: Settings, database: LogIdentity | None = None) -> TierFacts:
    """The facts about the tier in the settings of a relay, or else of a node; raises `InvalidInput` for an invalid URL.

    Options that only the relay decides, such as the retention of the JetStream stream, are compared only with the
    settings of a relay.
    """
    is_relays = settings.nats.url is not None
    name = "FLAGENT_CDC_NATS_URL" if is_relays else "FLAGENT_CDC_SOURCE"
    address = NatsAddress.of(settings, settings.nats.url or settings.nats.source or "", name=name)
    facts = TierFacts(
        str(address),
        settings.nats.stream,
        snapshot_interval_s=settings.nats.snapshot_interval_s,
        log_in_database=None if database is None else database.log,
        newest_in_database=None if database is None else database.newest,
    )
    try:
        return asyncio.run(_ask(facts, address, Limits.of(settings) if is_relays else None))
    except NatsError as error:
        return replace(facts, error=str(error), is_refused=isinstance(error, NatsRefused))


async def _ask(facts: TierFacts, address: NatsAddress, limits: Limits | None) -> TierFacts:
    connection = await connect(address, "doctor")
    try:
        with nats_errors(str(address)):
            return await _look(facts, connection, Layout(facts.stream), limits)
    finally:
        await connection.close()


async def _look(facts: TierFacts, connection: Connection, layout: Layout, limits: Limits | None) -> TierFacts:
    jetstream = connection.jetstream
    try:
        info = await jetstream.stream_info(layout.name)
    except nats.js.errors.NotFoundError:
        return facts
    relay = await _relay(connection, layout)
    tail = await read_tail(jetstream, layout)
    state = info.state
    return replace(
        facts,
        differs=tuple(differences(layout, limits, info.config)),
        replicas=info.config.num_replicas or 1,
        servers=1 if info.cluster is None or not info.cluster.name else 2,
        max_age_s=info.config.max_age or 0.0,
        first=state.first_seq if state.messages else state.last_seq + 1,
        last=state.last_seq,
        held_s=await _age_of(jetstream, layout.name, state.first_seq) if state.messages else None,
        log=tail.log,
        position=tail.position,
        snapshot=await _snapshot(jetstream, layout),
        relay=relay,
    )


async def _relay(connection: Connection, layout: Layout) -> RelayFacts | None:
    try:
        status = await hear_relay(connection.client, layout, _ANSWER_S)
    except NatsUnavailable:
        return None
    return RelayFacts(status.position, status.is_fresh, status.reason)


async def _snapshot(jetstream: JetStreamContext, layout: Layout) -> SnapshotFacts | None:
    pointer = await read_pointer(jetstream, layout)
    if pointer is None:
        return None
    age_s = (datetime.now(UTC) - await written_at(jetstream, layout)).total_seconds()
    return SnapshotFacts(pointer.log, pointer.position, pointer.sequence, age_s)


async def _age_of(jetstream: JetStreamContext, stream: str, sequence: int) -> float | None:
    """The age of a message; None if it is deleted by now."""
    try:
        message = await jetstream.get_msg(stream, seq=sequence)
    except nats.js.errors.NotFoundError:
        return None
    return None if message.time is None else (datetime.now(UTC) - message.time).total_seconds()
