"""`tail` against a scripted server: what it asks for, what it prints, how it comes back, how it gives up."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from cdc.cli import main

HELLO = 'retry: 1\n\nevent: connected\ndata: {"position":"7","id":"7@k7q2mx","fresh":true,"ageMs":1}\n\n'


def block(position: int, kind: str = "flag_deleted") -> str:
    event = {
        "type": kind,
        "id": f"{position}-0@k7q2mx",
        "flagKey": "a",
        "flagID": 1,
        "schema": "public",
        "committedAt": "2026-11-23T08:00:00.123456Z",
    }
    return f"event: {kind}\nid: {event['id']}\ndata: {json.dumps(event)}\n\n"


class Script:
    """Answers the n-th request with the n-th script, and remembers what was asked."""

    def __init__(self, *answers: str | tuple[int, str]) -> None:
        self.answers = answers
        self.requests: list[tuple[str, dict[str, list[str]], str | None]] = []

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        self.requests.append((parts.path, parse_qs(parts.query), handler.headers["Last-Event-ID"]))
        answer = self.answers[min(len(self.requests), len(self.answers)) - 1]
        status, text = answer if isinstance(answer, tuple) else (200, answer)
        handler.send_response(status)
        handler.send_header("Content-Type", "text/event-stream" if status == 200 else "application/problem+json")
        handler.end_headers()
        handler.wfile.write(text.encode())


Serve = Callable[..., tuple[str, Script]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[ThreadingHTTPServer] = []

    def start(*answers: str | tuple[int, str]) -> tuple[str, Script]:
        script = Script(*answers)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                script.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}", script

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_events_are_printed_and_count_ends_it(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    url, script = serve(HELLO + block(8) + block(9) + block(10))
    assert main(["tail", url, "--count", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"-- connected to {url}/api/v1/events/stream at position 7, fresh"
    assert [line.split()[1] for line in lines[1:]] == ["flag_deleted", "flag_deleted"]
    assert script.requests == [("/api/v1/events/stream", {"envelope": ["true"], "snapshot": ["true"]}, None)]


def test_filters_are_asked_for_as_the_stream_names_them(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    url, script = serve(HELLO)
    wanted = ["--flag", "a", "--flag", "b", "--flag-id", "3", "--tag", "payment", "--table", "orders", "--segments"]
    narrowed = ["--type", "flag_updated", "--schema", "tenant_1", "--last-event-id", "5-0@k7q2mx"]
    assert main(["tail", url, "--once", "--path", "/live", *wanted, *narrowed]) == 0
    asked = {
        "flag": ["a", "b"],
        "flagID": ["3"],
        "tag": ["payment"],
        "table": ["orders"],
        "segments": ["true"],
        "type": ["flag_updated"],
        "schema": ["tenant_1"],
        "envelope": ["true"],
    }
    assert script.requests == [("/live", asked, "5-0@k7q2mx")]
    assert capsys.readouterr().err == ""


def test_it_reconnects_with_the_last_id_that_was_sent(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    moved = ": keep-alive position=9 fresh=true ageMs=1\nid: 9@k7q2mx\n\n"
    url, script = serve(HELLO + block(8), (503, '{"detail": "try later"}'), HELLO + moved, HELLO + block(12))
    assert main(["tail", url, "--count", "2"]) == 0
    assert [last_id for _, _, last_id in script.requests] == [None, "8-0@k7q2mx", "8-0@k7q2mx", "9@k7q2mx"]
    error = capsys.readouterr().err
    assert "closed the stream; reconnecting in" in error
    assert "answered 503: try later; reconnecting in" in error


def test_json_gives_one_object_a_line(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    snapshot = 'event: snapshot\nid: 7@k7q2mx\ndata: {"position":"7","flags":[]}\n\n'
    resync = 'event: resync\nid: 9@k7q2mx\ndata: {"reason":"pruned","snapshot":{"position":"9","flags":[]}}\n\n'
    url, script = serve(HELLO + snapshot + block(8) + resync)
    assert main(["tail", url, "--json", "--snapshot", "--once"]) == 0
    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(each["type"], each["id"]) for each in objects] == [
        ("snapshot", "7@k7q2mx"),
        ("flag_deleted", "8-0@k7q2mx"),
        ("resync", "9@k7q2mx"),
    ]
    assert script.requests[0][1]["snapshot"] == ["true"]


def test_a_row_is_shown_whatever_its_columns_hold(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    digits, nested = "9" * 5001, "[" * 5000 + "]" * 5000
    row = f'{{"id":1,"n":1.10,"digits":{digits},"nested":{nested}}}'
    event = (
        '{"type":"row_inserted","id":"8-0@k7q2mx","schema":"shop","committedAt":"2026-11-23T08:00:00Z",'
        f'"table":"shop.orders","key":{{"id" : 1}},"before":null,"after":{row},"changed":[]}}'
    )
    marked = event.replace(row, "null").replace('"changed"', '"unreadable":"too_large","changed"')
    blocks = [f"event: row_inserted\nid: 8-0@k7q2mx\ndata: {data}\n\n" for data in (event, marked)]
    url, _ = serve(HELLO + "".join(blocks))
    assert main(["tail", url, "--json", "--once"]) == 0
    assert capsys.readouterr().out.splitlines() == [event, marked]
    assert main(["tail", url, "--once"]) == 0
    _, first, second = capsys.readouterr().out.splitlines()
    assert "n 1.10, digits 999" in first
    assert "nested [[[" in first
    assert "values not delivered: too_large" in second


def test_json_without_snapshot_asks_for_none(serve: Serve) -> None:
    url, script = serve(HELLO)
    main(["tail", url, "--json", "--once"])
    assert "snapshot" not in script.requests[0][1]


def test_a_rejection_is_one_sentence_with_the_servers_detail(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    url, _ = serve(
        (400, '{"title": "Bad Request", "detail": "schema \'x\' is not attached", "code": "unknown_schema"}')
    )
    assert main(["tail", url, "--schema", "x"]) == 2
    assert capsys.readouterr().err == "flagent-cdc: 127.0.0.1 answered 400: schema 'x' is not attached\n"


def test_another_kind_of_server_is_an_error(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    url, _ = serve((404, "no such page"))
    assert main(["tail", url]) == 2
    assert "answered 404: Not Found" in capsys.readouterr().err


def test_a_stream_that_makes_no_sense_is_refused(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    url, _ = serve(HELLO + "event: flag_updated\nid: 8-0@k7q2mx\ndata: not json\n\n")
    assert main(["tail", url]) == 2
    assert "sends data that is not an event stream of flagent-cdc" in capsys.readouterr().err


def test_an_unreachable_server_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tail", "http://127.0.0.1:1"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("flagent-cdc: cannot reach 127.0.0.1:1: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("address", ["127.0.0.1:8080", "ftp://h", "http://", "http://h:port", "ws://h/ws"])
def test_what_is_not_a_servers_address(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tail", address]) == 2
    assert "is not the address of a server" in capsys.readouterr().err
