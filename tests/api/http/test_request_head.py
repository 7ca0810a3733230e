"""Heads that are taken for plain requests, and those that are not."""

import gc

import httptools
import pytest

from api.http.request_head import KnownHeads, RequestHead, parse_head

HOST = b"Host: localhost\r\n"


def test_a_plain_head_is_read_as_the_parser_of_uvicorn_reads_it() -> None:
    head = parse_head(
        b"POST /a%20b?x=%20y HTTP/1.1\r\nHOST: h\r\nContent-Length: 12 \r\nX-One:\tv\r\nConnection: close\r\n\r\n"
    )
    assert head is not None
    assert (head.method, head.path, head.query) == ("POST", "/a b", b"x=%20y")
    assert head.headers == (
        (b"host", b"h"),
        (b"content-length", b"12 "),
        (b"x-one", b"v"),
        (b"connection", b"close"),
    )
    assert (head.content_length, head.keep_alive) == (12, False)


def test_a_request_without_a_body_has_the_length_0() -> None:
    head = parse_head(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
    assert head is not None
    assert (head.content_length, head.keep_alive) == (0, True)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET http://localhost/ HTTP/1.1\r\n" + HOST + b"\r\n",
        b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n",
        b"CONNECT localhost:80 HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /\xc3\xa9 HTTP/1.1\r\n" + HOST + b"\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nExpect: 100-continue\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"Upgrade: h2c\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"bad name: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"a: b\x00\r\n\r\n",
        b"GET / HTTP/1.1\nHost: a\n\nGET /b HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET / HTTP/1.1\r\n" + HOST + b"a: b\r\n" * 65 + b"\r\n",
        b"nonsense\r\n\r\n",
    ],
)
def test_whatever_else_arrives_is_not_plain(data: bytes) -> None:
    assert parse_head(data) is None


def test_a_parser_is_freed_without_the_garbage_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        before = sum(isinstance(each, httptools.HttpRequestParser) for each in gc.get_objects())
        for _ in range(10):
            parse_head(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        assert sum(isinstance(each, httptools.HttpRequestParser) for each in gc.get_objects()) == before
    finally:
        gc.enable()


UPGRADE = b"GET /ws HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n"


def test_the_head_of_an_upgrade_is_read_where_it_is_asked_for() -> None:
    head = parse_head(UPGRADE + b"\r\n", is_upgrade=True)
    assert head is not None
    assert (head.path, head.headers[-1]) == ("/ws", (b"upgrade", b"websocket"))
    for data in (
        b"GET / HTTP/1.1\r\n" + HOST + b"\r\n",
        UPGRADE + b"\r\nx",
        UPGRADE + b"Transfer-Encoding: chunked\r\n\r\n",
        UPGRADE.replace(b"1.1", b"1.0") + b"\r\n",
    ):
        assert parse_head(data, is_upgrade=True) is None


def test_known_heads_are_parsed_once_and_bounded() -> None:
    asked: list[str] = []

    def read(data: bytes) -> RequestHead | None:
        head = parse_head(data)
        if head is not None:
            asked.append(head.path)
        return None if head is None or head.path == "/no" else head

    known = KnownHeads(read)
    wanted, unwanted = (b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n" for path in (b"/yes", b"/no"))
    assert known.find(wanted) is known.find(wanted) is not None
    assert known.find(unwanted) is known.find(unwanted) is known.find(b"nonsense\r\n\r\n") is None
    assert asked == ["/yes", "/no"]
    for number in range(1_000):
        known.find(b"GET / HTTP/1.1\r\n" + HOST + b"traceparent: %d\r\n\r\n" % number)
    assert len(known._heads) <= 256
