"""Time and randomness, so that tests can play them."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Protocol


class Clock(Protocol):
    """What a client needs of the world besides its server."""

    def now(self) -> float:
        """Seconds on a monotonic clock."""

    def random(self) -> float:
        """A number in [0, 1)."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The real one."""

    def now(self) -> float:
        return time.monotonic()

    def random(self) -> float:
        return random.random()  # noqa: S311  jitter, no secret

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
