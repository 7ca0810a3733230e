"""Commits wait for others only while publishing is expensive, and never longer than it took."""

import asyncio

from cdc.postgres.coalescer import Coalescer
from tests.fixtures.server import until


async def test_the_first_request_is_published_at_once() -> None:
    published: list[float] = []
    coalescer = Coalescer(60.0, lambda: published.append(asyncio.get_running_loop().time()))
    coalescer.request()
    assert len(published) == 1


async def test_after_a_cheap_publication_nothing_waits() -> None:
    published: list[int] = []
    coalescer = Coalescer(60.0, lambda: published.append(1))
    for _ in range(3):
        coalescer.request()
        coalescer.published(0.0009)
    assert len(published) == 3


async def test_after_an_expensive_one_what_arrives_together_is_published_together() -> None:
    published: list[float] = []
    clock = asyncio.get_running_loop().time
    coalescer = Coalescer(60.0, lambda: published.append(clock()))
    began = clock()
    coalescer.published(0.03)
    for _ in range(5):
        coalescer.request()
    assert published == []
    await until(lambda: published, "the publication")
    assert published[0] - began >= 0.03
    await asyncio.sleep(0.05)
    assert len(published) == 1


async def test_nothing_waits_longer_than_the_window() -> None:
    published: list[int] = []
    coalescer = Coalescer(0.01, lambda: published.append(1))
    coalescer.published(30.0)
    coalescer.request()
    await until(lambda: published, "the publication", deadline_s=10)


async def test_what_was_requested_can_be_forgotten() -> None:
    published: list[int] = []
    coalescer = Coalescer(60.0, lambda: published.append(1))
    coalescer.published(0.02)
    coalescer.request()
    coalescer.cancel()
    await asyncio.sleep(0.05)
    assert published == []
    coalescer.cancel()
    coalescer.request()
    assert published == [1]
