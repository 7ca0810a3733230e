"""Messages are stored once and in order, or not at all."""

import asyncio
import signal

import pytest

from cdc.errors import NatsError, NatsUnavailable, Superseded
from cdc.jetstream.connection import Connection
from cdc.jetstream.publisher import Outgoing, Publisher
from tests.cdc.jetstream.tier import LAYOUT, prepared
from tests.fixtures.nats import NatsServer

SUBJECT = "flagent_cdc.change.public.flags"


def messages(first: int, count: int, size: int = 10) -> list[Outgoing]:
    return [
        Outgoing(SUBJECT, str(number).encode().ljust(size), {"Number": str(number)}, f"id-{number}")
        for number in range(first, first + count)
    ]


async def stored(connection: Connection) -> list[int]:
    """The numbers of the messages in the JetStream stream, in order."""
    last = (await connection.jetstream.stream_info(LAYOUT.name)).state.last_seq
    found = [await connection.jetstream.get_msg(LAYOUT.name, sequence) for sequence in range(1, last + 1)]
    return [int((message.headers or {})["Number"]) for message in found]


async def test_messages_are_stored_in_order_over_several_windows(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdc.jetstream.publisher._WINDOW_MESSAGES", 4)
    monkeypatch.setattr("cdc.jetstream.publisher._WINDOW_BYTES", 1000)
    async with prepared(nats_server) as connection:
        publisher = Publisher(connection, "nats", 0)
        await publisher.publish(messages(0, 10))
        await publisher.publish(messages(10, 5, size=600))
        await publisher.publish([])
        assert publisher.sequence == 15
        assert await stored(connection) == list(range(15))


async def test_a_message_that_does_not_follow_the_end_is_not_stored(nats_server: NatsServer) -> None:
    async with prepared(nats_server) as connection:
        first, second = Publisher(connection, "nats", 0), Publisher(connection, "nats", 0)
        await first.publish(messages(0, 3))
        # The real reason, and at once; and of a window that reaches beyond the end nothing is stored either.
        for count in (1, 2, 6):
            with pytest.raises(Superseded, match="another relay"):
                await second.publish(messages(100, count))
        assert await stored(connection) == [0, 1, 2]
        assert second.sequence == 0
        # The other one goes on.
        await first.publish(messages(3, 1))
        assert await stored(connection) == [0, 1, 2, 3]


async def test_two_that_publish_the_same_messages_store_each_once_and_in_order(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdc.jetstream.publisher._ANSWER_S", 0.5)
    async with prepared(nats_server) as connection:
        first, second = Publisher(connection, "nats", 0), Publisher(connection, "nats", 0)
        await first.publish(messages(0, 3))
        with pytest.raises(NatsError):
            await second.publish(messages(0, 5))
        assert await stored(connection) == [0, 1, 2]
        second.sequence = 3  # as it reads the end again
        await second.publish(messages(3, 2))
        assert await stored(connection) == [0, 1, 2, 3, 4]


async def test_after_the_end_was_read_again_it_continues(nats_server: NatsServer) -> None:
    async with prepared(nats_server) as connection:
        await Publisher(connection, "nats", 0).publish(messages(0, 2))
        last = (await connection.jetstream.stream_info(LAYOUT.name)).state.last_seq
        await Publisher(connection, "nats", last).publish(messages(2, 2))
        assert await stored(connection) == [0, 1, 2, 3]


async def test_a_message_sent_twice_is_not_stored_twice(nats_server: NatsServer) -> None:
    async with prepared(nats_server) as connection:
        await Publisher(connection, "nats", 0).publish(messages(0, 1))
        with pytest.raises(Superseded):
            await Publisher(connection, "nats", 1).publish(messages(0, 1))
        assert await stored(connection) == [0]


async def test_without_a_confirmation_in_time_it_is_unavailable(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cdc.jetstream.publisher._ANSWER_S", 0.2)
    async with prepared(nats_server) as connection:
        publisher = Publisher(connection, "nats", 0)
        nats_server.send(signal.SIGSTOP)
        try:
            with pytest.raises(NatsUnavailable, match="did not confirm in time"):
                await asyncio.wait_for(publisher.publish(messages(0, 2)), 5)
        finally:
            nats_server.send(signal.SIGCONT)
        assert publisher.sequence == 0
