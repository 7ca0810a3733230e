"""Of several relays one leads, until its session with PostgreSQL ends."""

import asyncio

import pytest

from cdc.errors import DatabaseUnavailable
from cdc.jetstream.election import Leadership, leadership
from tests.fixtures.flags import Writer
from tests.fixtures.logged import actions
from tests.fixtures.proxy import proxy_to
from tests.fixtures.server import until

END_SESSIONS = (
    "select pg_terminate_backend(pid) from pg_stat_activity"
    " where application_name = 'flagent-cdc relay' and datname = current_database()"
)


class Candidate:
    """A relay that leads as long as it can; `error` is why it no longer does."""

    def __init__(self, url: str, stream: str = "flagent_cdc") -> None:
        self.is_leading = False
        self.error: Exception | None = None
        self.held: Leadership | None = None
        self._url = url
        self._stream = stream
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            async with leadership(self._url, self._stream) as self.held:
                self.is_leading = True
                await self.held.keep()
        except DatabaseUnavailable as error:
            self.error = error
        finally:
            self.is_leading = False

    async def leads(self) -> None:
        await until(lambda: self.is_leading, "the election")

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def test_one_of_two_leads_and_the_other_follows_when_it_ends(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    first = Candidate(database_url)
    await first.leads()
    second = Candidate(database_url)
    await until(lambda: "relay_standby" in actions(caplog), "the standby")
    await asyncio.sleep(0.7)  # it asks again
    assert not second.is_leading
    await first.stop()
    await second.leads()
    await second.stop()
    assert actions(caplog) == ["relay_active", "relay_standby", "relay_active"]


async def test_relays_of_other_jetstream_streams_lead_beside_it(database_url: str) -> None:
    candidates = [Candidate(database_url, name) for name in ("one", "two")]
    for each in candidates:
        await each.leads()
    for each in candidates:
        await each.stop()


async def test_a_leader_whose_session_ends_stops_leading(database_url: str) -> None:
    first = Candidate(database_url)
    await first.leads()
    second = Candidate(database_url)
    with Writer(database_url) as writer:
        await until(lambda: session_count(writer) == 2, "the candidacy")
        writer.run(END_SESSIONS)
    await until(lambda: first.task.done() and second.task.done(), "their notice")
    assert isinstance(first.error, DatabaseUnavailable)
    assert isinstance(second.error, DatabaseUnavailable)


def session_count(writer: Writer) -> int:
    row = writer.connection.execute(
        "select count(*) from pg_stat_activity"
        " where application_name = 'flagent-cdc relay' and datname = current_database()"
    ).fetchone()
    assert row is not None
    return int(row[0])


async def test_a_leader_that_is_cut_off_gives_up_before_another_one_leads(database_url: str) -> None:
    clock = asyncio.get_running_loop().time
    async with proxy_to(database_url) as proxy:
        first = Candidate(proxy.url)
        await first.leads()
        second = Candidate(database_url)
        proxy.stall()
        stalled_at = clock()
        await until(lambda: first.task.done(), "its notice")
        assert not second.is_leading
        assert clock() - stalled_at < 4
        assert isinstance(first.error, DatabaseUnavailable)
        await second.leads()
        await second.stop()


async def test_a_leader_can_give_up_at_once(database_url: str) -> None:
    first = Candidate(database_url)
    await first.leads()
    assert first.held is not None
    first.held.give_up()
    await until(lambda: first.task.done(), "the end")
    assert isinstance(first.error, DatabaseUnavailable)
