"""One connection to NATS: its errors become ours, and a break is noticed and not repaired behind our back."""

import asyncio

import nats.errors
import nats.js.errors
import pytest

from cdc.cli.torture.port import lasting_port
from cdc.errors import NatsError, NatsRefused, NatsUnavailable, Superseded
from cdc.jetstream.connection import Link, connect, nats_errors
from tests.cdc.jetstream.tier import address_of, connected
from tests.fixtures.nats import NatsServer
from tests.fixtures.server import until


@pytest.mark.parametrize(
    ("error", "expected", "words"),
    [
        (nats.errors.TimeoutError(), NatsUnavailable, "did not answer in time"),
        (ConnectionRefusedError("refused"), NatsUnavailable, "refused"),
        (nats.errors.NoServersError(), NatsUnavailable, "cannot be reached"),
        (nats.errors.AuthorizationError(), NatsRefused, "refuses the login"),
        (nats.errors.Error("nats: 'permissions violation for publish'"), NatsRefused, "permissions violation"),
        (nats.js.errors.APIError(code=400, err_code=10071, description="wrong"), Superseded, "another relay"),
        (nats.js.errors.KeyWrongLastSequenceError(), Superseded, "another relay"),
        (nats.js.errors.APIError(code=503, description="no"), NatsUnavailable, "not available: no"),
        (nats.js.errors.APIError(code=400, err_code=10005, description="no peers"), NatsUnavailable, "no peers"),
        (nats.js.errors.APIError(code=404, description="not there"), NatsError, "says: not there"),
    ],
)
def test_the_errors_of_the_driver_become_ours(error: Exception, expected: type[NatsError], words: str) -> None:
    with pytest.raises(NatsError, match=words) as caught, nats_errors("nats://a:4222"):
        raise error
    assert type(caught.value) is expected
    assert caught.value.__cause__ is error
    assert str(caught.value).startswith("nats://a:4222")


def test_errors_of_others_pass() -> None:
    with pytest.raises(KeyError), nats_errors("nats"):
        raise KeyError("x")


async def test_a_connection_that_breaks_is_lost_and_stays_so(nats_server: NatsServer) -> None:
    async with connected(nats_server) as connection:
        assert not connection.lost.done()
        assert connection.max_payload == 1024 * 1024
        await asyncio.to_thread(nats_server.stop)
        await asyncio.wait_for(connection.lost, 10)
        await asyncio.to_thread(nats_server.start)
        await asyncio.sleep(0.3)
        assert not connection.client.is_connected


async def test_of_several_servers_any_that_answers_is_used(nats_server: NatsServer) -> None:
    async with connected(nats_server):
        dead = f"nats://127.0.0.1:{lasting_port()}"
        for _ in range(4):
            await (await connect(address_of(f"{dead},{nats_server.url}"), "test")).close()
        with pytest.raises(NatsUnavailable):
            await connect(address_of(dead), "test")


async def test_a_link_connects_when_first_used_and_again_after_a_break(nats_server: NatsServer) -> None:
    link = Link(address_of(nats_server.url), "test")
    async with connected(nats_server):
        pass
    async with link.use() as jetstream:
        assert (await jetstream.account_info()).streams == 0
    await asyncio.to_thread(nats_server.stop)
    with pytest.raises(NatsUnavailable):
        await ask(link)
    await asyncio.to_thread(nats_server.start)

    async def answers() -> bool:
        try:
            await ask(link)
        except NatsUnavailable:
            return False
        return True

    await until(answers, "the new connection")
    link.shutdown_socket()
    await link.close()


async def ask(link: Link) -> None:
    async with link.use() as jetstream:
        await jetstream.account_info()
