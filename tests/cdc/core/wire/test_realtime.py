"""The stream for Flagent's existing clients: one notice per flag and commit, in the one payload that all three read."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from cdc.core.flags.events import Event
from cdc.core.flags.flag_bound import FlagBound
from cdc.core.log.change import Op
from cdc.core.log.position import EventId
from cdc.core.subscription.resume import ResyncReason
from cdc.core.wire.encoded import encode_commit
from cdc.core.wire.realtime import REALTIME
from tests.cdc.core.flagent import Flagent, Observed, change_of
from tests.fixtures.clients import SIX_NAMES, GoStream, kotlin_event

HERE = EventId.parse("7@k7q2mx")

Write = Callable[[Flagent], object]


def no_text() -> str:
    raise AssertionError("a notice contains no flags")


def stream_of(events: list[Event]) -> bytes:
    encoded = encode_commit(events, FlagBound())
    one_by_one = b"".join(REALTIME.event(event) for event in encoded)
    if encoded:
        assert REALTIME.batch(encoded, None) == one_by_one
        assert b"".join(REALTIME.event_at(event, "2026-11-23T08:00:00Z") for event in encoded) == one_by_one
    return one_by_one


def read(stream: bytes) -> list[dict[str, Any]]:
    """What the clients take from the stream; each of them must take the same."""
    go = GoStream()
    for line in stream.decode().split("\n"):
        go.feed_line(line)
    assert stream.count(b"event: ") == stream.count(b"data: ")
    assert [kotlin_event(payload) for payload in go.events] == go.events
    return go.events


class Following:
    """A flag with a segment, a constraint, two variants and their shares, and the clients' view of its changes."""

    def __init__(self) -> None:
        self.observed = Observed()
        database = self.database = self.observed.flagent
        self.flag_id = database.flag("a")
        self.variants = [database.insert("variants", flag_id=self.flag_id, key=key) for key in ("on", "off")]
        self.segment_id = database.insert("segments", flag_id=self.flag_id, rollout_percent=100)
        self.constraint_id = database.insert("constraints", segment_id=self.segment_id)
        self.share_id = database.insert("distributions", segment_id=self.segment_id, variant_id=self.variants[0])
        self.observed.commit()

    def notices(self) -> list[dict[str, Any]]:
        """The notices of everything written since the last commit."""
        return read(stream_of(self.observed.commit()))


@pytest.fixture
def following() -> Following:
    return Following()


def names(notices: list[dict[str, Any]]) -> list[str]:
    return [notice["type"] for notice in notices]


CHANGES: dict[str, tuple[Callable[[Following], object], str, dict[str, str] | None]] = {
    "a flag's notes": (
        lambda following: following.database.update("flags", following.flag_id, notes="new"),
        "flag.updated",
        None,
    ),
    "a tag": (lambda following: following.database.tag(following.flag_id, "web"), "flag.updated", None),
    "a toggle": (
        lambda following: following.database.update("flags", following.flag_id, enabled=True),
        "flag.toggled",
        {"enabled": "true"},
    ),
    "a segment": (
        lambda following: following.database.update("segments", following.segment_id, rank=0),
        "segment.updated",
        {"segmentID": "4"},
    ),
    "a constraint": (
        lambda following: following.database.update("constraints", following.constraint_id, value="CA"),
        "segment.updated",
        {"segmentID": "4"},
    ),
    "a deleted constraint": (
        lambda following: following.database.delete("constraints", following.constraint_id),
        "segment.updated",
        {"segmentID": "4"},
    ),
    "a distribution": (
        lambda following: following.database.update("distributions", following.share_id, percent=50),
        "segment.updated",
        {"segmentID": "4"},
    ),
    "a variant": (
        lambda following: following.database.update("variants", following.variants[1], key="never"),
        "variant.updated",
        {"variantID": "3"},
    ),
    "a soft-deleted flag": (
        lambda following: following.database.update("flags", following.flag_id, deleted_at="2026-11-23T08:00:00"),
        "flag.deleted",
        None,
    ),
    "a deleted flag": (
        lambda following: following.database.delete("flags", following.flag_id),
        "flag.deleted",
        None,
    ),
}


@pytest.mark.parametrize(("write", "name", "data"), CHANGES.values(), ids=CHANGES)
def test_each_kind_of_change_is_one_notice(
    following: Following, write: Callable[[Following], object], name: str, data: dict[str, str] | None
) -> None:
    write(following)
    (notice,) = following.notices()
    assert notice == {
        "type": name,
        "flagID": following.flag_id,
        "flagKey": "a",
        "message": notice["message"],
        **({} if data is None else {"data": data}),
        "timestamp": 1795420800123,
    }
    assert name in SIX_NAMES
    assert "a" in notice["message"]


def test_a_new_flag_with_all_its_parts_is_one_notice() -> None:
    following = Following()
    database = following.database
    other = database.flag("b", enabled=True)
    database.insert("segments", flag_id=other)
    database.insert("variants", flag_id=other)
    assert names(following.notices()) == ["flag.created"]


def test_many_changes_of_one_flag_in_one_commit_are_one_notice(following: Following) -> None:
    database = following.database
    database.update("flags", following.flag_id, enabled=True, notes="new")
    database.update("segments", following.segment_id, rank=0)
    database.insert("segments", flag_id=following.flag_id)
    database.update("variants", following.variants[0], key="other")
    assert names(following.notices()) == ["flag.toggled"]


def test_a_renamed_flag_is_one_gone_and_one_new(following: Following) -> None:
    following.database.update("flags", following.flag_id, key="b")
    notices = following.notices()
    assert [(notice["type"], notice["flagKey"]) for notice in notices] == [("flag.deleted", "a"), ("flag.created", "b")]


def test_every_flag_of_a_commit_has_its_own_notice(following: Following) -> None:
    other = following.database.flag("b")
    following.observed.commit()
    following.database.update("flags", following.flag_id, notes="new")
    following.database.update("flags", other, notes="new")
    assert [notice["flagKey"] for notice in following.notices()] == ["a", "b"]


def test_bookkeeping_and_watched_tables_are_not_sent(following: Following) -> None:
    following.database.save(following.flag_id)
    orders = change_of("shop", "orders", Op.INSERT, None, {"id": 1}, {"id": 1})
    assert stream_of(following.observed.commit(orders)) == b""


@pytest.mark.parametrize("key", ["k" * 64, "😀" * 64, "\u2028" * 64, '"\\' * 32, "k" * 100_000, "a\nb", "a\r\n\r\nb"])
def test_no_key_breaks_the_line_or_its_limit(key: str) -> None:
    observed = Observed()
    observed.flagent.flag(key)
    (notice,) = read(stream_of(observed.commit()))
    assert key.startswith(notice["flagKey"])


def test_a_large_flag_makes_no_larger_line(following: Following) -> None:
    following.database.update("flags", following.flag_id, description="d" * 1_000_000)
    stream = stream_of(following.observed.commit())
    assert len(stream) < 1000
    assert names(read(stream)) == ["flag.updated"]


def test_a_new_stream_and_a_resync_make_the_clients_refetch() -> None:
    for stream in (REALTIME.snapshot(HERE, no_text), REALTIME.resync(HERE, ResyncReason.OVERFLOW, no_text)):
        (notice,) = read(stream)
        assert (notice["type"], notice["flagID"], notice["flagKey"]) == ("flag.updated", 0, "")
        assert b"\nid:" not in stream


def test_the_first_message_is_an_event_and_keep_alives_and_closing_are_comments() -> None:
    greeting = REALTIME.connected(HERE, is_fresh=True, age_ms=1).decode()
    assert greeting.startswith("event: connected\ndata: ")
    assert json.loads(greeting.split("data: ")[1])["type"] == "connected"
    assert read(greeting.encode()) == []
    keep_alive = REALTIME.keep_alive(HERE, is_fresh=False, age_ms=1, digest=None)
    assert keep_alive == b": keep-alive position=7 fresh=false\n\n"
    assert REALTIME.closing(2000) == b"retry: 2000\n: closing\n\n"
    assert REALTIME.snapshot_head(HERE, "r") == b""
