"""Ports that are given once, even while the server that has one is down."""

import random
import socket

import pytest

from cdc.cli.torture import port as ports
from cdc.cli.torture.port import lasting_port


def test_ports_are_free_and_different() -> None:
    found = [lasting_port() for _ in range(20)]
    assert len(set(found)) == 20
    for port in found:
        with socket.socket() as server:
            server.bind(("127.0.0.1", port))


def test_a_port_that_was_given_or_is_in_use_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    given = lasting_port()
    with socket.socket() as server:
        while True:
            used = random.choice(ports._PORTS)
            try:
                server.bind(("127.0.0.1", used))
            except OSError:
                continue
            break
        free = lasting_port()
        while free + 1 not in ports._PORTS:
            free = lasting_port()
        choices = iter([given, used, *ports._PORTS])
        monkeypatch.setattr("cdc.cli.torture.port.random.choice", lambda _: next(choices))
        assert lasting_port() not in (given, used)
