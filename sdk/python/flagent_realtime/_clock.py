"""Time and randomness, replaceable by tests."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Protocol


class Clock(Protocol):
    """A source of time and randomness."""

    def now(self) -> float:
        """Seconds on a monotonic clock."""

    def random(self) -> float:
        """A number in [0, 1)."""

    async def sleep(self, seconds: float) -> None:
        """Wait this long."""


class SystemClock:
    """The system's monotonic clock and random numbers."""

    def now(self) -> float:
        return time.monotonic()

    def random(self) -> float:
        return random.random()  # noqa: S311  jitter, not a secret

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
