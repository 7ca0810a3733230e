"""Work in turns: after so much time, the event loop serves others before it goes on."""

import asyncio
from collections.abc import Generator, Iterable
from typing import TypeVar

__all__ = ["TURN_S", "Turns"]

T = TypeVar("T")

TURN_S = 0.002
"""How long a turn lasts, plus one step."""


class Turns:
    """The turns of one request; the first begins with this object."""

    __slots__ = ("_ends_s", "_loop")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ends_s = self._loop.time() + TURN_S

    async def list_of(self, steps: Iterable[T]) -> list[T]:
        """What the steps return; each must take a fraction of a turn."""
        done: list[T] = []
        for step in steps:
            done.append(step)
            if self._loop.time() >= self._ends_s:
                await self._next()
        return done

    async def result_of(self, steps: Generator[None, None, T]) -> T:
        """What a generator returns that yields between its steps."""
        while True:
            try:
                next(steps)
            except StopIteration as end:
                result: T = end.value
                return result
            if self._loop.time() >= self._ends_s:
                await self._next()

    async def _next(self) -> None:
        await asyncio.sleep(0)
        self._ends_s = self._loop.time() + TURN_S
