"""Checks of a running server as its clients see it, through all proxies in between."""

from collections.abc import Iterator

from .facts import ServerFacts, StreamFacts, UnreadableFacts
from .finding import Finding, Limits, error, note, ok, unchecked

__all__ = ["check_server"]

_UNBUFFERED = "proxy_buffering off; proxy_http_version 1.1; proxy_read_timeout 1h;  # nginx, for the stream's location"
_UPGRADE = (
    "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;  # nginx"
)
_TOKEN = "flagent-cdc doctor --url … --credential-file FILE"  # noqa: S105 - a command, no secret


def check_server(facts: ServerFacts, limits: Limits) -> Iterator[Finding]:
    if facts.error is not None:
        yield _unreachable(facts)
        return
    yield ok("reachable", f"{facts.url} answers")
    if facts.certificate_days is not None:
        yield _certificate(facts, facts.certificate_days, limits)
    yield _version(facts)
    if facts.clock_ahead_s is not None:
        yield _clock(facts.clock_ahead_s, limits)
    yield _ready(facts)
    stream = facts.stream
    if stream is None:
        yield note("stream", "the event stream was not checked: it is disabled")
    elif stream.status in (401, 403):
        yield unchecked("stream", f"the stream requires a credential ({stream.problem or stream.status})", _TOKEN)
    else:
        if facts.is_exposed and not facts.has_credential and stream.greets:
            yield error(
                "open",
                f"everyone who reaches {facts.url} can read every flag",
                "export FLAGENT_CDC_AUTH_ENABLED=true && flagent-cdc keys create NAME",
            )
        yield from _stream(facts, stream, limits)
    if facts.websocket is not None:
        yield _websocket(facts.websocket)
    yield from map(_unreadable, facts.unreadable)


def _unreachable(facts: ServerFacts) -> Finding:
    if facts.error_is_tls:
        host = facts.url.partition("://")[2].partition("/")[0]
        return error(
            "reachable",
            f"{facts.url}: TLS fails: {facts.error}",
            f"openssl s_client -connect {host if ':' in host else host + ':443'}",
        )
    return error("reachable", f"{facts.url} cannot be reached: {facts.error}", "flagent-cdc serve")


def _certificate(facts: ServerFacts, days: float, limits: Limits) -> Finding:
    if days < limits.certificate_days:
        return error(
            "server_certificate", f"the certificate of {facts.url} expires in {days:.0f} days", "certbot renew"
        )
    return ok("server_certificate", f"the certificate of {facts.url} is valid for {days:.0f} days")


def _version(facts: ServerFacts) -> Finding:
    if facts.version is None:
        return error(
            "server",
            f"{facts.url} is not a flagent-cdc server: it does not answer /api/v1/info",
            "flagent-cdc doctor --url …",
        )
    if facts.version != facts.own_version:
        return note("server", f"the server has version {facts.version}, this program {facts.own_version}")
    return ok("server", f"the server has version {facts.version}")


def _clock(ahead_s: float, limits: Limits) -> Finding:
    # A Date header has whole seconds.
    if abs(ahead_s) <= limits.clock_s + 1:
        return ok("server_clock", "the server's clock agrees with this machine's")
    return error(
        "server_clock",
        f"the server's clock is {abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} this machine's",
        "timedatectl set-ntp true",
    )


def _ready(facts: ServerFacts) -> Finding:
    listener = "" if facts.listener is None else f"; its listener is {facts.listener}"
    if facts.listener is not None and facts.reason:
        listener += f": {facts.reason}"
    if not facts.ready:
        return error("ready", f"the server is not ready{listener}", "flagent-cdc doctor  # of its database")
    if facts.listener == "polling":
        return error(
            "ready",
            f"the server polls instead of listening: {facts.reason}",
            "export FLAGENT_CDC_DATABASE_URL='postgresql://…' of PostgreSQL itself",
        )
    return ok("ready", f"the server is ready{listener}")


def _stream(facts: ServerFacts, stream: StreamFacts, limits: Limits) -> Iterator[Finding]:
    if stream.status != 200:
        said = f": {stream.problem}" if stream.problem else ""
        yield error("stream", f"the stream answers {stream.status}{said}", f"curl -iN {facts.url}/api/v1/events/stream")
        return
    if stream.first_byte_s is None:
        yield error("buffering", "nothing of the stream arrives: a proxy in between buffers it", _UNBUFFERED)
        return
    if not stream.greets:
        yield error(
            "stream",
            f"the answer is not a flagent-cdc event stream ({stream.content_type or 'without a content type'})",
            f"curl -iN {facts.url}/api/v1/events/stream",
        )
        return
    if stream.first_byte_s > limits.first_byte_s:
        yield error(
            "buffering",
            f"the stream's first event took {stream.first_byte_s:.1f} s: a proxy in between buffers it",
            _UNBUFFERED,
        )
    else:
        yield ok("buffering", f"the stream's first event came after {stream.first_byte_s * 1000:.0f} ms")
    yield _headers(stream)
    yield _gzip(stream)
    yield _keep_alive(stream)
    yield _log(facts, stream)
    yield _lag(facts, stream, limits)


def _headers(stream: StreamFacts) -> Finding:
    if stream.coding:
        return error(
            "compression",
            f"the stream arrives as {stream.coding}, which was not requested: a proxy compresses it",
            "gzip off;  # nginx, for the stream's location",
        )
    if "no-cache" not in stream.cache_control and "no-store" not in stream.cache_control:
        return error(
            "caching",
            f"a proxy in between replaced Cache-Control ({stream.cache_control or 'missing'}): streams might be cached",
            "proxy_pass_header Cache-Control;  # nginx, for the stream's location",
        )
    return ok("headers", "no proxy changes the stream's headers")


def _gzip(stream: StreamFacts) -> Finding:
    if stream.gzip_works is False:
        return error("compression", "a compressed stream does not arrive at once: a proxy buffers it", _UNBUFFERED)
    return ok("compression", "a compressed stream arrives at once too")


def _keep_alive(stream: StreamFacts) -> Finding:
    if stream.keep_alive is None:
        return note("keep_alive", "keep-alives were not checked: the wait would exceed its limit")
    if stream.keep_alive:
        return ok("keep_alive", f"keep-alives arrive every {stream.heartbeat_s or 0:g} s")
    return error(
        "keep_alive",
        f"keep-alives do not arrive every {stream.heartbeat_s or 0:g} s, or the connection is closed before: a proxy "
        "closes quiet connections too early",
        _UNBUFFERED,
    )


def _log(facts: ServerFacts, stream: StreamFacts) -> Finding:
    if facts.log_in_database is None:
        return note("same_log", "the server's database was not checked, so its change log was not compared")
    if facts.log_in_database != stream.log:
        return error(
            "same_log",
            f"the server serves the change log {stream.log}; the checked database has {facts.log_in_database}",
            "flagent-cdc doctor --database-url …  # the server's own",
        )
    return ok("same_log", "the server serves the change log of this database")


def _lag(facts: ServerFacts, stream: StreamFacts, limits: Limits) -> Finding:
    if not stream.is_fresh:
        return error(
            "fresh", "the server cannot confirm that it is up to date", "flagent-cdc doctor  # of its database"
        )
    if facts.newest_in_database is None or facts.log_in_database != stream.log or stream.position is None:
        return ok("fresh", "the server is up to date")
    lag = facts.newest_in_database - stream.position
    if lag > limits.lag_positions:
        return error(
            "lag",
            f"the server is {lag} commits behind the database",
            f"curl -s {facts.url}/readyz",
        )
    return ok("lag", f"the server is at position {stream.position}, like the database")


def _websocket(problem: str) -> Finding:
    if problem:
        return error("websocket", f"a WebSocket does not come through: {problem}", _UPGRADE)
    return ok("websocket", "a WebSocket comes through")


def _unreadable(facts: UnreadableFacts) -> Finding:
    return error(
        "unreadable_rows",
        f"{facts.count} changes of {facts.table} were delivered without their values ({facts.reason}), the last one at"
        f" position {facts.position}",
        f"flagent-cdc watch {facts.table} --mask COLUMN  # the column that holds such values",
    )
