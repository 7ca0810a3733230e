"""One payload for many: past the sinks where there are sockets."""

import socket

from cdc.fanout.broadcast import BroadcastGroup
from cdc.fanout.subscriber import Subscriber
from tests.cdc.fanout.memory import EVERYTHING, SSE, MemoryHub, MemorySink


class SocketSink(MemorySink):
    def __init__(self, sock: socket.socket) -> None:
        super().__init__()
        self.socket = sock  # type: ignore[assignment]


def subscriber_of(sink: MemorySink) -> Subscriber:
    return Subscriber(sink, MemoryHub().hub, SSE, EVERYTHING)


def connected() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    return ours, theirs


def test_sinks_and_sockets_get_the_same_bytes() -> None:
    ours, theirs = connected()
    with ours, theirs:
        group = BroadcastGroup()
        direct, through = SocketSink(ours), MemorySink()
        group.add(subscriber_of(direct))
        group.add(subscriber_of(through))
        assert len(group) == 2
        group.write(b"data")
        assert theirs.recv(100) == b"data"
        assert bytes(through.data) == b"data"
        assert direct.writes == []


def test_what_a_socket_does_not_take_goes_to_its_sink_from_there_on() -> None:
    ours, theirs = connected()
    with ours, theirs:
        group = BroadcastGroup()
        sink = SocketSink(ours)
        group.add(subscriber_of(sink))
        large = bytes(range(256)) * 16384
        group.write(large)
        rest = bytes(sink.data)
        assert 0 < len(rest) < len(large)
        received = b""
        while len(received) < len(large) - len(rest):
            received += theirs.recv(1 << 20)
        assert received + rest == large
        ours.close()
        group.write(b"to a socket that is broken")
        assert bytes(sink.data) == rest + b"to a socket that is broken"


def test_a_removed_subscriber_receives_nothing_more() -> None:
    ours, theirs = connected()
    with ours, theirs:
        group = BroadcastGroup()
        direct, through = subscriber_of(SocketSink(ours)), subscriber_of(MemorySink())
        for subscriber in (direct, through):
            group.add(subscriber)
            group.remove(subscriber)
        group.write(b"data")
        assert len(group) == 0
        theirs.setblocking(False)
        assert through.sink.data == b""  # type: ignore[attr-defined]
