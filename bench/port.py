"""A free port for a program that is started once."""

import socket
import subprocess
import time

__all__ = ["free_port", "wait_for_port"]

_START_S = 60.0


def free_port() -> int:
    """A loopback port that no program listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def wait_for_port(port: int, program: "subprocess.Popen[bytes]") -> None:
    """Wait until the program listens on the port; ends the benchmark if it does not."""
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and program.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"{program.args!r} does not listen on port {port}")
