"""How a tier is laid out on JetStream: names, subjects, and the configuration of its JetStream stream.

<name>                        the JetStream stream
  <name>.change.<schema>.<table>   one message of a commit; others may subscribe to the tables they want
  <name>.origin               a log begins here: what came before cannot be continued, a snapshot has the state
  <name>.schemas              these schemas are Flagent's from here on
<name>.probe                  nodes ask here whether they are current; the active relay answers
<name>.key_use                nodes report here which API keys were used; the active relay records it
<name>_state                  key-value bucket: `snapshot`, where the newest one is; `keys`, the API keys' hashes;
                              `stream-token-rotations`, what nodes derive secrets from; `lanes`, the watched tables and
                              their lanes
<name>_snapshots              object store

Every other lane has the same beside it, as <name>_s<number of the lane>.
"""

import logging
from dataclasses import dataclass
from typing import Self

import nats.js.errors
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.client import JetStreamContext

from ..core.log.lane import FLAGS, Lane
from ..core.wire.commit_message import subject_token
from ..errors import NatsMismatch
from ..settings.settings import Settings

__all__ = ["Layout", "Limits", "differences", "prepare"]

logger = logging.getLogger(__name__)

# In which JetStream refuses the same message id a second time; the fence is the expected last sequence.
_DUPLICATE_WINDOW_S = 120.0


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a JetStream stream: `max_age_s` in seconds, 0 for none; the oldest messages are dropped first."""

    replicas: int
    max_age_s: float
    max_bytes: int

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(settings.nats.replicas, settings.nats.max_age_s or 0.0, settings.nats.max_bytes)


@dataclass(frozen=True, slots=True)
class Layout:
    """The names of one tier. A name is one token: letters, digits, `_` and `-`."""

    name: str

    def of(self, lane: Lane) -> Self:
        return self if lane == FLAGS else type(self)(f"{self.name}_s{lane.id}")

    @property
    def origin(self) -> str:
        return f"{self.name}.origin"

    @property
    def schemas(self) -> str:
        return f"{self.name}.schemas"

    @property
    def probe(self) -> str:
        return f"{self.name}.probe"

    @property
    def key_use(self) -> str:
        return f"{self.name}.key_use"

    @property
    def state(self) -> str:
        return f"{self.name}_state"

    @property
    def snapshots(self) -> str:
        return f"{self.name}_snapshots"

    @property
    def subjects(self) -> list[str]:
        return [f"{self.name}.change.>", self.origin, self.schemas]

    def change(self, schema: str, table: str) -> str:
        return f"{self.name}.change.{subject_token(schema)}.{subject_token(table)}"


async def prepare(jetstream: JetStreamContext, layout: Layout, limits: Limits) -> None:
    """Create what is missing, and check what exists; raises `NatsMismatch`, which names every difference."""
    wanted = StreamConfig(
        name=layout.name,
        description="Commits of flagent-cdc; only its relay writes here",
        subjects=layout.subjects,
        retention=RetentionPolicy.LIMITS,
        discard=DiscardPolicy.OLD,
        storage=StorageType.FILE,
        max_age=limits.max_age_s,
        max_bytes=limits.max_bytes,
        num_replicas=limits.replicas,
        duplicate_window=min(_DUPLICATE_WINDOW_S, limits.max_age_s or _DUPLICATE_WINDOW_S),
        allow_direct=True,
        deny_delete=True,
    )
    try:
        found = (await jetstream.stream_info(layout.name)).config
    except nats.js.errors.NotFoundError:
        await jetstream.add_stream(wanted)
        logger.info("JetStream stream created", extra={"action": "jetstream_created", "stream": layout.name})
    else:
        _check(layout, limits, found)
    try:
        await jetstream.key_value(layout.state)
    except nats.js.errors.NotFoundError:
        await jetstream.create_key_value(bucket=layout.state, history=1, replicas=limits.replicas, direct=True)
    try:
        await jetstream.object_store(layout.snapshots)
    except nats.js.errors.NotFoundError:
        await jetstream.create_object_store(layout.snapshots, replicas=limits.replicas)


def _check(layout: Layout, limits: Limits, found: StreamConfig) -> None:
    found_differences = differences(layout, limits, found)
    if found_differences:
        raise NatsMismatch(
            f"the JetStream stream {layout.name!r} does not match the settings: {'; '.join(found_differences)}. "
            "Change the JetStream stream (`nats stream edit`) or the settings"
        )


def differences(layout: Layout, limits: Limits | None, found: StreamConfig) -> list[str]:
    """What in the configuration of a JetStream stream is not as required, in words; `limits` None are not compared."""
    places: list[tuple[str, object, object, str]] = [
        ("subjects", sorted(found.subjects or []), sorted(layout.subjects), ""),
        ("retention", found.retention, RetentionPolicy.LIMITS, ""),
        ("discard", found.discard, DiscardPolicy.OLD, ""),
        ("max_msgs", found.max_msgs, -1, ""),
        ("max_msgs_per_subject", found.max_msgs_per_subject, -1, ""),
        ("max_msg_size", found.max_msg_size, -1, ""),
        ("no_ack", bool(found.no_ack), False, ""),
        ("sealed", bool(found.sealed), False, ""),
        ("mirror or sources", bool(found.mirror or found.sources), False, ""),
        ("allow_direct", bool(found.allow_direct), True, ""),
    ]
    if limits is not None:
        places += [
            ("num_replicas", found.num_replicas, limits.replicas, "FLAGENT_CDC_NATS_REPLICAS"),
            ("max_age in seconds", found.max_age or 0, limits.max_age_s, "FLAGENT_CDC_NATS_MAX_AGE"),
            ("max_bytes", found.max_bytes, limits.max_bytes, "FLAGENT_CDC_NATS_MAX_BYTES"),
        ]
    return [
        f"{what} is {_value(is_)}, but must be {_value(wanted)}" + (f" ({variable})" if variable else "")
        for what, is_, wanted, variable in places
        if is_ != wanted
    ]


def _value(value: object) -> object:
    return getattr(value, "value", value)
