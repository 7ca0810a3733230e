"""Evaluations over one connection to a server: REST with keep-alive, and a WebSocket.

The server is a separate process on one core, with an embedded database that holds the flags; the client is on another
core. With several requests in flight the client sends more before the first response, like one with many callers.
"""

import http.client
import json
import os
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
from bench.port import free_port
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
    """Run a server on a database with these rows; yields once it is ready."""
    cores = Cores()
    os.sched_setaffinity(0, {cores.load})
    with tempfile.TemporaryDirectory(prefix="flagent-cdc-bench-") as directory:
        os.chmod(directory, 0o755)
        with EmbeddedPostgres(Path(directory) / "data") as postgres:
            _fill(postgres.url, flags)
            migrate(postgres.url, report=lambda _: None)
            port = free_port()
            command = [sys.executable, "-m", "cdc", "serve", "--port", str(port), "--database-url", postgres.url]
            with Process(command, cores.server) as process:
                _await_ready(port, process)
                process.settle()
                yield Server(port, process)


def passes(server: Server, requests: Sequence[Request]) -> dict[str, Callable[[], Sequence[object]]]:
    """Functions that each send all requests and return the variants in order."""
    socket_ = connect(f"ws://127.0.0.1:{server.port}/ws", compression=None, max_queue=None)
    return {
        "REST, one connection": lambda: _over_rest(server.port, requests),
        "WebSocket, one in flight": lambda: _over_websocket(socket_, requests, 1),
        f"WebSocket, {IN_FLIGHT} in flight": lambda: _over_websocket(socket_, requests, IN_FLIGHT),
    }


def _over_rest(port: int, requests: Sequence[Request]) -> list[object]:
    variants = []
    # A new connection for each pass: the server closes one that is idle during the other passes.
    with closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
        for request in requests:
            connection.request("POST", "/api/v1/evaluation", json.dumps(request))
            response = connection.getresponse()
            body = response.read()
            if response.status != 200:
                raise SystemExit(f"the server responded with {response.status}: {body!r}")
            variants.append(json.loads(body)["variantID"])
    return variants


def _over_websocket(connection: ClientConnection, requests: Sequence[Request], in_flight: int) -> list[object]:
    variants: list[object] = []
    sent = 0
    while len(variants) < len(requests):
        while sent < len(requests) and sent - len(variants) < in_flight:
            connection.send(json.dumps({"type": "evaluate", "requestId": str(sent), **requests[sent]}))
            sent += 1
        message = json.loads(connection.recv())
        if message["type"] == "heartbeat":
            continue
        if message["type"] != "evaluation_result" or message["requestId"] != str(len(variants)):
            raise SystemExit(f"not the response to request {len(variants)}: {message}")
        variants.append(message["result"]["variantID"])
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
    raise SystemExit(f"the server did not become ready: {process.stderr_tail()}")
