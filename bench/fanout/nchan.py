"""Nchan, the fastest broadcast module of nginx (Debian: nginx, libnginx-mod-nchan)."""

import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from bench.fanout import payload
from bench.fanout.load import Endpoint
from bench.fanout.payload import Mode
from bench.fanout.process import Process, descriptors_max
from bench.fanout.target import Target, Unavailable, wait_for_port
from bench.port import free_port

__all__ = ["Nchan"]

_PUBLISHED = b"HTTP/1.1 20"  # 201 with subscribers, 202 without
_MODULES = [Path("/usr/lib/nginx/modules"), Path("/usr/lib64/nginx/modules"), Path("/usr/local/nginx/modules")]


class Nchan(Target):
    """One worker; events are published over one pipelined HTTP connection."""

    name = "nchan"

    def __init__(self, mode: Mode, core: int, *, deflate: bool = False, messages: int = 5000) -> None:
        self.mode, self._core, self._deflate, self._messages = mode, core, deflate, messages

    def start(self) -> None:
        program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
        module = next((path for folder in _MODULES if (path := folder / "ngx_nchan_module.so").exists()), None)
        if program is None or module is None:
            raise Unavailable("nginx with Nchan is not installed (Debian: nginx, libnginx-mod-nchan)")
        self._folder = tempfile.TemporaryDirectory(prefix="flagent-cdc-nchan-")
        self._port = free_port()
        text = (Path(__file__).parent / "nchan.conf").read_text()
        for name, value in {
            "folder": self._folder.name,
            "module": module,
            "port": self._port,
            "descriptors": descriptors_max(),
            "messages": self._messages,
            "deflate": "on" if self._deflate else "off",
        }.items():
            text = text.replace(f"@{name}@", str(value))
        configuration = Path(self._folder.name) / "nginx.conf"
        configuration.write_text(text)
        self.process = Process([program, "-p", self._folder.name, "-c", configuration, "-e", "stderr"], self._core)
        wait_for_port(self._port, self.process)
        self._publisher = socket.create_connection(("127.0.0.1", self._port))
        self._publisher.settimeout(600)
        self._publisher.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self.mode, self._port, "/stream")

    @property
    def history(self) -> Endpoint:
        return Endpoint(self.mode, self._port, "/history")

    def push_many(self, first: int, count: int) -> Sequence[int]:
        requests = [self._request(seq) for seq in range(first, first + count)]
        times: list[int] = []

        def send() -> None:
            for request in requests:
                times.append(time.monotonic_ns())
                self._publisher.sendall(request)

        sending = threading.Thread(target=send, daemon=True)
        sending.start()
        self._read_responses(count)
        sending.join()
        return times

    def _request(self, seq: int) -> bytes:
        if self.mode == "sse":
            # Nchan writes the lines `event:`, `id:` (its own ids) and `data:`.
            body, name = payload.compact(payload.flag(seq)), "X-EventSource-Event: flag_updated\r\n"
        else:
            body, name = payload.compact(payload.message(seq)), ""
        return (
            f"POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{name}"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()

    def _read_responses(self, count: int) -> None:
        seen, tail = 0, b""
        while seen < count:
            more = self._publisher.recv(65536)
            if not more:
                raise ConnectionError("Nchan closed the publisher's connection")
            data = tail + more
            seen += data.count(_PUBLISHED)
            # Shorter than the pattern, so that nothing is counted twice.
            tail = data[-(len(_PUBLISHED) - 1) :]

    def stop(self) -> None:
        if hasattr(self, "_publisher"):
            self._publisher.close()
        super().stop()
        if hasattr(self, "_folder"):
            self._folder.cleanup()
