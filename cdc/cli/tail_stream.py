"""Follows a server's stream for `flagent-cdc tail`, across reconnects."""

import argparse
import os
import random
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx2

from cdc.cli.sse import Block, read_blocks
from cdc.cli.view import View
from cdc.core.errors import FlagentCdcError
from cdc.core.text.exact_json import read_any, read_object
from cdc.core.text.json_text import encode

LONGEST_WAIT_S = 30.0
# By default a server sends a keep-alive every 30 s; after three missed ones the connection is dead.
SILENCE_S = 100.0


class StreamRefused(FlagentCdcError):
    """The server rejected the request for its stream."""


class StreamLost(FlagentCdcError):
    """The server cannot be reached, or the connection was lost."""


def follow(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    try:
        url = httpx2.URL(arguments.url)
    except httpx2.InvalidURL:
        url = httpx2.URL("")
    if url.scheme not in ("http", "https") or not url.host:
        raise StreamRefused(f"{arguments.url!r} is not the address of a server, such as http://127.0.0.1:8080")
    colour = sys.stdout.isatty() and not arguments.no_color and not environment.get("NO_COLOR")
    tail = Tail(arguments, url.join(arguments.path), View(colour=colour and environment.get("TERM") != "dumb"))
    try:
        return tail.follow()
    except KeyboardInterrupt:
        return 0


@dataclass(slots=True)
class Tail:
    """Follows one stream across reconnects; each line is flushed, so that a pipe receives it at once."""

    arguments: argparse.Namespace
    url: httpx2.URL
    view: View
    last_id: str | None = None
    seen: int = 0
    failures: int = 0
    retry_s: float = 3.0
    connected: bool = False
    _waits: random.Random = field(default_factory=lambda: random.Random(os.urandom(8)))  # noqa: S311 (jitter)

    def follow(self) -> int:
        """Until `--count` events were seen, or with `--once` until the connection ends."""
        self.last_id = self.arguments.last_event_id
        timeout = httpx2.Timeout(10.0, read=SILENCE_S)
        with httpx2.Client(timeout=timeout, follow_redirects=True) as client:
            while True:
                try:
                    self._connection(client)
                    lost = StreamLost(f"{self.url.netloc.decode()} closed the stream")
                    if self.arguments.once or self._is_done():
                        return 0
                except (StreamLost, StreamRefused) as error:
                    # A server that was never reached, or that rejects the request, would answer a retry alike.
                    if not self.connected or self.arguments.once or isinstance(error, StreamRefused):
                        raise
                    lost = StreamLost(str(error))
                self._wait(lost)

    def _is_done(self) -> bool:
        return self.arguments.count is not None and self.seen >= self.arguments.count

    def _wait(self, lost: StreamLost) -> None:
        """The server's own `retry:` time, doubled with each failure in a row, and jittered so that clients spread."""
        seconds = min(LONGEST_WAIT_S, self.retry_s * 2**self.failures) * self._waits.uniform(0.5, 1.0)
        self.failures = min(self.failures + 1, 10)
        print(f"-- {lost}; reconnecting in {seconds:.1f} s", file=sys.stderr, flush=True)
        time.sleep(seconds)

    def _connection(self, client: httpx2.Client) -> None:
        try:
            with client.stream("GET", self.url, params=self._query(), headers=self._headers()) as response:
                if response.status_code != httpx2.codes.OK:
                    response.read()
                    raise _refusal(response)
                kind = response.headers.get("content-type", "").partition(";")[0]
                if kind != "text/event-stream":
                    raise StreamRefused(
                        f"{self.url} answers with {kind or 'no content type'}, not with an event stream"
                    )
                for block in read_blocks(response.iter_text()):
                    self._take(block)
                    if self._is_done():
                        return
        except httpx2.TimeoutException as error:
            raise StreamLost(f"no data and no keep-alive from {self.url.netloc.decode()}") from error
        except httpx2.TransportError as error:
            raise StreamLost(f"cannot reach {self.url.netloc.decode()}: {error or type(error).__name__}") from error

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        return {**headers, "Last-Event-ID": self.last_id} if self.last_id else headers

    def _query(self) -> dict[str, Any]:
        wanted = self.arguments
        query: dict[str, Any] = {
            "flag": wanted.flag,
            "flagID": wanted.flag_id,
            "tag": wanted.tag,
            "table": wanted.table,
            "type": wanted.type,
            "schema": wanted.schema,
            "envelope": "true",
        }
        if wanted.segments:
            query["segments"] = "true"
        # Showing what changed needs the state before; a resumed stream has it already.
        if not self.last_id and (wanted.snapshot or not wanted.json):
            query["snapshot"] = "true"
        return {name: value for name, value in query.items() if value}

    def _take(self, block: Block) -> None:
        """Show one block; the resume id moves only after that, so that an interrupted line is sent again."""
        if block.retry_ms is not None:
            self.retry_s = block.retry_ms / 1000
        try:
            lines = [*self._lines(block)]
        except (ValueError, KeyError, TypeError) as error:
            what = f"({block.event or 'message'}: {type(error).__name__} {error})"
            raise StreamRefused(
                f"{self.url.netloc.decode()} sends data that is not an event stream of flagent-cdc {what}"
            ) from error
        for line in lines:
            print(line, flush=True)
        if block.id:
            self.last_id = block.id

    def _lines(self, block: Block) -> Iterator[str]:
        if block.data is None:
            if block.comment and block.comment.startswith("keep-alive") and not self.arguments.json:
                yield from self.view.freshness(block.comment)
            return
        data, _ = read_object(block.data, 0, _ROWS)
        match block.event:
            case "connected":
                self.connected, self.failures = True, 0
                if not self.arguments.json:
                    yield from self.view.connected(str(self.url), data)
            case "snapshot" | "resync" if self.arguments.json:
                yield f'{{"type":"{block.event}","id":{encode(block.id)},{block.data[1:]}'
            case "snapshot":
                yield from self.view.snapshot(data, shown=self.arguments.snapshot)
            case "resync":
                yield from self.view.resync(data)
            case _:
                self.seen += 1
                if self.arguments.json:
                    # As it came, to the last digit.
                    yield block.data
                else:
                    yield from self.view.event(data, datetime.now(UTC).astimezone())


def _read_row(text: str, at: int) -> tuple[Any, int]:
    """A row of which every column that Python can hold is decoded."""
    return read_object(text, at, {}) if text.startswith("{", at) else read_any(text, at)


_ROWS = dict.fromkeys(("key", "before", "after"), _read_row)


def _refusal(response: httpx2.Response) -> StreamLost | StreamRefused:
    """The error from the server's answer; 429 and 5xx are retried if the server was reached before."""
    try:
        detail = str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        detail = response.reason_phrase
    busy = response.status_code == httpx2.codes.TOO_MANY_REQUESTS or response.is_server_error
    return (StreamLost if busy else StreamRefused)(f"{response.url.host} answered {response.status_code}: {detail}")
