"""The socket that the server listens on."""

import socket

from cdc.cli.server import _listen
from tests.fixtures.settings import settings_with


def test_connections_do_not_hold_back_small_writes() -> None:
    with (
        _listen(settings_with(listen_port=0)) as listener,
        socket.create_connection(listener.getsockname()),
    ):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
