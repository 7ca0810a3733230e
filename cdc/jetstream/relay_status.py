"""What the active relay says when it is asked how far the log is, and how long ago PostgreSQL proved that to it."""

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
    """`position` is the newest it has heard of; `age_s` ago, in seconds, there was none newer. `reason` is for people,
    where the relay is not fresh itself."""

    log: LogId
    position: Position
    is_fresh: bool
    age_s: float
    reason: str

    def data(self) -> bytes:
        said = {
            "log": self.log,
            "position": str(self.position),
            "fresh": self.is_fresh,
            "ageMs": round(self.age_s * 1000),
            "reason": self.reason,
        }
        return json.dumps(said).encode()

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Raises `ValueError`."""
        try:
            said = json.loads(data)
            position, age_s = Position(int(said["position"])), float(said["ageMs"]) / 1000
            return cls(LogId(str(said["log"])), position, bool(said["fresh"]), age_s, str(said["reason"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"a word of the relay that cannot be read: {error!r}") from error


async def hear_relay(client: Client, layout: Layout, timeout_s: float) -> RelayStatus:
    """Raises `NatsUnavailable`, which says why there is no word."""
    try:
        return RelayStatus.read((await client.request(layout.probe, b"", timeout=timeout_s)).data)
    except nats.errors.NoRespondersError as error:
        raise NatsUnavailable("no relay is active") from error
    except (nats.errors.Error, TimeoutError, ValueError) as error:
        raise NatsUnavailable("the relay does not answer, or not what can be read") from error


async def ask_relay(client: Client, layout: Layout) -> RelayStatus:
    """As `hear_relay`, and `NatsUnavailable` also where the relay is not fresh itself: then nobody proves anything."""
    word = await hear_relay(client, layout, _ANSWER_S)
    if not word.is_fresh:
        raise NatsUnavailable(f"the relay is not current: {word.reason}")
    return word
