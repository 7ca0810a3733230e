"""A free port for a program that is started once."""

import socket

__all__ = ["free_port"]


def free_port() -> int:
    """A loopback port that no program listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
