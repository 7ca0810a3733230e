"""Work in turns."""

import asyncio
import time
from collections.abc import Generator, Iterator

import pytest

from api.http.turns import TURN_S, Turns


def slow(steps: int) -> Iterator[int]:
    for number in range(steps):
        until = time.monotonic() + TURN_S
        while time.monotonic() < until:
            pass
        yield number


def summed(steps: int) -> Generator[None, None, int]:
    total = 0
    for number in slow(steps):
        total += number
        yield
    return total


async def turns_during(work: "asyncio.Future[object]") -> int:
    turns = 0
    while not work.done():
        await asyncio.sleep(0)
        turns += 1
    return turns


async def test_others_have_their_turn_after_each_slow_step() -> None:
    listing = asyncio.ensure_future(Turns().list_of(slow(5)))
    assert await turns_during(listing) >= 5  # type: ignore[arg-type]
    assert listing.result() == [0, 1, 2, 3, 4]
    adding = asyncio.ensure_future(Turns().result_of(summed(5)))
    assert await turns_during(adding) >= 5  # type: ignore[arg-type]
    assert adding.result() == 10


async def test_quick_work_is_one_turn() -> None:
    # Without a pause the coroutine ends at its first step.
    with pytest.raises(StopIteration) as ended:
        Turns().list_of(range(3)).send(None)
    assert ended.value.value == [0, 1, 2]
