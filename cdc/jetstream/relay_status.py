"""The status of the active relay: how far the log is, and how long ago PostgreSQL confirmed that."""

import json
from dataclasses import dataclass
from typing import Self

import nats.errors
from nats.aio.client import Client

from ..core.log.position import LogId, Position
from ..errors import NatsUnavailable
from .layout import Layout

__all__ = ["RelayStatus", "ask_relay", "hear_relay"]

_ANSWER_S = 2.0


@dataclass(frozen=True, slots=True)
class RelayStatus:
    """The relay's answer to a probe.

    `position` is the newest commit that it knows; `age_s` ago, in seconds, the log had none newer. `reason` says, for
    people, why the relay is not fresh itself.
    """

    log: LogId
    position: Position
    is_fresh: bool
    age_s: float
    reason: str

    def data(self) -> bytes:
        fields = {
            "log": self.log,
            "position": str(self.position),
            "fresh": self.is_fresh,
            "ageMs": round(self.age_s * 1000),
            "reason": self.reason,
        }
        return json.dumps(fields).encode()

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Raises `ValueError`."""
        try:
            fields = json.loads(data)
            position, age_s = Position(int(fields["position"])), float(fields["ageMs"]) / 1000
            return cls(LogId(str(fields["log"])), position, bool(fields["fresh"]), age_s, str(fields["reason"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"the relay status cannot be read: {error!r}") from error


async def hear_relay(client: Client, layout: Layout, timeout_s: float) -> RelayStatus:
    """Ask the active relay; raises `NatsUnavailable`, which says why there is no status."""
    try:
        return RelayStatus.read((await client.request(layout.probe, b"", timeout=timeout_s)).data)
    except nats.errors.NoRespondersError as error:
        raise NatsUnavailable("no relay is active") from error
    except (nats.errors.Error, TimeoutError, ValueError) as error:
        raise NatsUnavailable("the relay does not answer, or its answer cannot be read") from error


async def ask_relay(client: Client, layout: Layout) -> RelayStatus:
    """As `hear_relay`, and `NatsUnavailable` also where the relay is not fresh itself and so confirms nothing."""
    status = await hear_relay(client, layout, _ANSWER_S)
    if not status.is_fresh:
        raise NatsUnavailable(f"the relay is not current: {status.reason}")
    return status
