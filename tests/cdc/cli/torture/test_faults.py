"""The order of the faults: every kind once before any is repeated, each repaired before the next."""

import asyncio
import random
import signal
from collections.abc import Callable
from typing import Any, cast

import pytest

from cdc.cli.torture.faults import Faults, Server
from cdc.cli.torture.proxy import Proxy
from cdc.cli.torture.writer import Writer
from cdc.embedded.server import EmbeddedPostgres
from tests.fixtures.server import until

NOWHERE = "postgresql://ann@127.0.0.1:1/flags"

ON_ANY_DATABASE = {
    "server killed",
    "server stopped",
    "writers' sessions terminated",
    "database link stalled",
    "database link disconnected",
    "client links disconnected",
    "client link stalled",
    "abusive clients",
}


class Quick(random.Random):
    """Random, with the shortest pauses."""

    def uniform(self, a: float, b: float) -> float:
        return 0.001


class Recorder:
    """Stands in for a server, a proxy or a PostgreSQL, and records the calls in the order they came."""

    def __init__(self, name: str, calls: list[str], on_ready: Callable[[], Any] | None = None) -> None:
        self.name = name
        self.calls = calls
        self.on_ready = on_ready
        self.port = 1  # nobody listens there

    def __getattr__(self, method: str) -> Callable[[], None]:
        return lambda: self.calls.append(f"{self.name}.{method}")

    async def stop(self, number: signal.Signals) -> None:
        self.calls.append(f"{self.name}.stop {number.name}")

    async def ready(self) -> None:
        if self.on_ready is not None:
            await self.on_ready()
        self.calls.append(f"{self.name}.ready")


class Postgres(Recorder):
    def stop(self) -> None:  # type: ignore[override]
        self.calls.append(f"{self.name}.stop")


def faults(calls: list[str], *, with_postgres: bool, on_ready: Callable[[], Any] | None = None) -> Faults:
    return Faults(
        Quick(7),
        NOWHERE,
        [cast(Server, Recorder("server", calls, on_ready))],
        cast(Proxy, Recorder("database", calls)),
        [cast(Proxy, Recorder("client", calls))],
        list[Writer](),
        cast(EmbeddedPostgres, Postgres("postgres", calls)) if with_postgres else None,
    )


@pytest.mark.parametrize("with_postgres", [False, True], ids=["a given database", "the embedded one"])
async def test_every_kind_comes_once_before_any_is_repeated(with_postgres: bool) -> None:
    some = faults([], with_postgres=with_postgres)
    running = asyncio.create_task(some.run(1))
    kinds = 11 if with_postgres else 8
    counts = [dict[str, int]()]

    def has_repeated() -> bool:
        counts.append(dict(some.done))
        return some.done.total() > 3 * kinds

    await until(has_repeated, "three rounds of faults")
    await some.finish(running)
    for count in counts:
        assert max(count.values(), default=0) - min(count.values() if len(count) == kinds else [0], default=0) <= 1
    assert len(some.done) == kinds
    assert some.done.keys() >= ON_ANY_DATABASE
    assert ("PostgreSQL killed" in some.done) == with_postgres


async def test_what_was_broken_is_repaired() -> None:
    calls: list[str] = []
    some = faults(calls, with_postgres=True)
    running = asyncio.create_task(some.run(1))
    await until(lambda: len(some.done) == 11, "each fault once")
    await some.finish(running)
    for broken, repaired in (
        ("server.stop SIGKILL", ["server.start", "server.ready"]),
        ("server.stop SIGTERM", ["server.start", "server.ready"]),
        ("database.stall", ["database.resume"]),
        ("client.stall", ["client.resume"]),
        ("postgres.kill", ["postgres.start"]),
        ("postgres.stop", ["postgres.start"]),
    ):
        place = calls.index(broken) + 1
        assert calls[place : place + len(repaired)] == repaired


async def test_the_present_fault_is_completed_before_the_end() -> None:
    is_waiting, may_go_on = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        is_waiting.set()
        await may_go_on.wait()

    calls: list[str] = []
    some = faults(calls, with_postgres=False, on_ready=wait)
    running = asyncio.create_task(some.run(1))
    async with asyncio.timeout(20):
        await is_waiting.wait()
    finishing = asyncio.create_task(some.finish(running))
    await asyncio.sleep(0)
    assert not finishing.done()
    may_go_on.set()
    await finishing
    assert calls[-1] == "server.ready"
