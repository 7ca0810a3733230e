"""Evaluations over one connection to a server: REST with keep-alive, and a WebSocket.

The server is a process of its own on one core, on an embedded database that holds the flags; who asks is on another
core. With `in flight` requests more are sent before the first is answered, as a client with many callers does.
"""

import http.client
import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb
from websockets.sync.client import ClientConnection, connect

from bench.fanout.process import Cores, Process
from cdc.admin.installation import migrate
from cdc.database.queries import flagent_tables
from cdc.embedded.server import EmbeddedPostgres
from tests.cdc.core.flagent import Flagent

__all__ = ["Server", "passes", "running_server"]

IN_FLIGHT = 32

_START_S = 60.0

Request = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Server:
    port: int
    process: Process


@contextmanager
def running_server(flags: Flagent) -> Iterator[Server]:
    """A server that is ready, on a database with these rows."""
    cores = Cores()
    os.sched_setaffinity(0, {cores.load})
    with tempfile.TemporaryDirectory(prefix="flagent-cdc-bench-") as directory:
        os.chmod(directory, 0o755)
        with EmbeddedPostgres(Path(directory) / "data") as postgres:
            _fill(postgres.url, flags)
            migrate(postgres.url, report=lambda _: None)
            with socket.create_server(("127.0.0.1", 0)) as probe:
                port = probe.getsockname()[1]
            command = [sys.executable, "-m", "cdc", "serve", "--port", str(port), "--database-url", postgres.url]
            with Process(command, cores.server) as process:
                _await_ready(port, process)
                process.settle()
                yield Server(port, process)


def passes(server: Server, requests: Sequence[Request]) -> dict[str, Callable[[], Sequence[object]]]:
    """Each asks all requests and gives the variants in their order."""
    socket_ = connect(f"ws://127.0.0.1:{server.port}/ws", compression=None, max_queue=None)
    return {
        "REST, one connection": lambda: _over_rest(server.port, requests),
        "WebSocket, one in flight": lambda: _over_websocket(socket_, requests, 1),
        f"WebSocket, {IN_FLIGHT} in flight": lambda: _over_websocket(socket_, requests, IN_FLIGHT),
    }


def _over_rest(port: int, requests: Sequence[Request]) -> list[object]:
    variants = []
    # Made anew for each pass: the server closes what has been idle for some seconds, as it is during the other passes.
    with closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
        for request in requests:
            connection.request("POST", "/api/v1/evaluation", json.dumps(request))
            response = connection.getresponse()
            body = response.read()
            if response.status != 200:
                raise SystemExit(f"the server answered {response.status}: {body!r}")
            variants.append(json.loads(body)["variantID"])
    return variants


def _over_websocket(connection: ClientConnection, requests: Sequence[Request], in_flight: int) -> list[object]:
    variants: list[object] = []
    sent = 0
    while len(variants) < len(requests):
        while sent < len(requests) and sent - len(variants) < in_flight:
            connection.send(json.dumps({"type": "evaluate", "requestId": str(sent), **requests[sent]}))
            sent += 1
        answer = json.loads(connection.recv())
        if answer["type"] == "heartbeat":
            continue
        if answer["type"] != "evaluation_result" or answer["requestId"] != str(len(variants)):
            raise SystemExit(f"not the answer to request {len(variants)}: {answer}")
        variants.append(answer["result"]["variantID"])
    return variants


def _fill(url: str, flags: Flagent) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(flagent_tables())
        for table, rows in flags.tables.items():
            name = sql.Identifier(table)
            statement = sql.SQL("insert into {} select * from jsonb_populate_recordset(null::{}, %s)")
            connection.execute(statement.format(name, name), (Jsonb(list(rows.values())),))


def _await_ready(port: int, process: Process) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.popen.poll() is None:
        with closing(http.client.HTTPConnection("127.0.0.1", port)) as probe:
            try:
                probe.request("GET", "/readyz")
                if probe.getresponse().status == 200:
                    return
            except OSError:
                pass
        time.sleep(0.05)
    raise SystemExit(f"the server did not become ready: {process.complaints()}")
