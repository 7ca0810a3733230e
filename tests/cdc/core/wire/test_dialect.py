"""The dialects of flagent-cdc: each message as the SSE and WebSocket modules encode it."""

import json
from collections.abc import Callable

import pytest

from cdc.core.flags.flag_bound import FlagBound
from cdc.core.log.position import EventId, Position
from cdc.core.subscription.resume import ResyncReason
from cdc.core.wire import sse, websocket
from cdc.core.wire.dialect import ENVELOPES, EVENTS, MESSAGES, Dialect
from cdc.core.wire.encoded import EncodedEvent, encode_commit
from cdc.core.wire.ofrep import COALESCED_REFETCH, REFETCH
from cdc.core.wire.realtime import REALTIME
from cdc.core.wire.snapshot import snapshot_text
from tests.cdc.core.flagent import LOG, Observed

HERE = EventId(Position(1042), None, LOG)
AT = "2026-11-23T08:00:00.123Z"
SNAPSHOT = snapshot_text(Position(1042), [("public", {"key": "a"})], FlagBound())

# Every dialect must satisfy the protocol; mypy checks their methods here.
ALL: dict[str, Dialect] = {
    "events": EVENTS,
    "envelopes": ENVELOPES,
    "messages": MESSAGES,
    "realtime": REALTIME,
    "refetch": REFETCH,
    "coalesced refetch": COALESCED_REFETCH,
}


def event() -> EncodedEvent:
    observed = Observed()
    observed.flagent.flag("a")
    return encode_commit(observed.commit(), FlagBound())[0]


def must_not_be_made() -> str:
    raise AssertionError("this dialect needs no text")


def messages(dialect: Dialect, text: Callable[[], str]) -> dict[str, bytes]:
    """Everything that a dialect can send."""
    return {
        "connected": dialect.connected(HERE, is_fresh=True, age_ms=5),
        "event": dialect.event(event()),
        "event_at": dialect.event_at(event(), AT),
        "batch": dialect.batch([event()], None),
        "batch at": dialect.batch([event()], AT),
        "snapshot": dialect.snapshot(HERE, text),
        "snapshot_head": dialect.snapshot_head(HERE, "r1"),
        "resync": dialect.resync(HERE, ResyncReason.AHEAD, text),
        "keep_alive": dialect.keep_alive(HERE, is_fresh=False, age_ms=5, digest="1:deadbeef"),
        "closing": dialect.closing(700),
        "unauthorized": dialect.unauthorized("credential_expired", "log in again"),
    }


@pytest.mark.parametrize("name", [name for name in ALL if ALL[name].transport == "sse"])
def test_an_sse_dialect_sends_whole_blocks_or_nothing(name: str) -> None:
    for message in messages(ALL[name], lambda: SNAPSHOT).values():
        assert message == b"" or message.endswith(b"\n\n")


def test_a_websocket_dialect_sends_one_object_or_nothing() -> None:
    sent = messages(MESSAGES, lambda: SNAPSHOT)
    assert (sent.pop("connected"), sent.pop("closing")) == (b"", b"")
    assert sent.pop("snapshot_head") == websocket.snapshot_head(HERE, "r1").encode()
    types = {name: json.loads(message)["type"] for name, message in sent.items()}
    assert types == {
        "event": "flag_created",
        "event_at": "flag_created",
        "batch": "batch",
        "batch at": "batch",
        "snapshot": "snapshot",
        "resync": "resync",
        "keep_alive": "heartbeat",
        "unauthorized": "error",
    }


@pytest.mark.parametrize("name", ["realtime", "refetch", "coalesced refetch"])
def test_a_dialect_without_snapshots_makes_no_text(name: str) -> None:
    assert messages(ALL[name], must_not_be_made)["snapshot_head"] == b""


@pytest.mark.parametrize(("dialect", "envelope"), [(EVENTS, False), (ENVELOPES, True)])
def test_the_event_stream_is_encoded_by_the_sse_module(dialect: Dialect, envelope: bool) -> None:
    one = event()
    assert dialect.connected(HERE, is_fresh=True, age_ms=5, heartbeat_ms=9) == sse.connected(
        HERE, is_fresh=True, age_ms=5, heartbeat_ms=9
    )
    assert dialect.event(one) == one.sse(envelope=envelope)
    assert dialect.event_at(one, AT) == sse.with_sent_at(one.sse(envelope=envelope), AT)
    assert dialect.batch([one], None) == sse.batch([one])
    assert dialect.batch([one], AT) == sse.with_sent_at(sse.batch([one]), AT)
    assert dialect.snapshot(HERE, lambda: SNAPSHOT) == sse.snapshot(HERE, SNAPSHOT)
    assert dialect.resync(HERE, ResyncReason.AHEAD, lambda: SNAPSHOT) == sse.resync(HERE, ResyncReason.AHEAD, SNAPSHOT)
    assert dialect.closing(700) == sse.closing(700)
    assert dialect.unauthorized("code", "text") == sse.unauthorized("code", "text")


def test_times_of_sending_are_the_last_field_of_each_message() -> None:
    for message in (MESSAGES.event_at(event(), AT), MESSAGES.batch([event()], AT)):
        assert list(json.loads(message).items())[-1] == ("sentAt", AT)
