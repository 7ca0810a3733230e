"""Snapshots and resyncs, encoded once for equal selections."""

import json
from typing import Any

import pytest

from cdc.core.subscription.resume import ResyncReason
from cdc.core.subscription.selection import Selection, Selections
from cdc.core.wire.dialect import EVENTS, MESSAGES
from cdc.core.wire.format import Format
from cdc.core.wire.realtime import REALTIME
from cdc.fanout.snapshot_cache import SnapshotCache
from cdc.fanout.snapshot_message import SnapshotMessage
from tests.cdc.core.flagent import Observed
from tests.cdc.fanout.memory import EVERYTHING, JSON_LINES, select


@pytest.fixture
def observed() -> Observed:
    observed = Observed()
    for key in ("a", "b"):
        observed.flagent.flag(key)
    observed.commit()
    return observed


def whole(message: SnapshotMessage) -> bytes:
    return b"".join([message.piece(place) for place in range(message.count)])


def read(message: SnapshotMessage) -> Any:
    return json.loads(whole(message))


def test_a_snapshot_is_encoded_once_for_equal_selections(observed: Observed) -> None:
    cache = SnapshotCache(observed.catalog)
    one = cache.snapshot(JSON_LINES, select(flag_keys=["a"]))
    same = cache.snapshot(Format(MESSAGES, is_framed=False), select(flag_keys=["a"]))
    other = cache.snapshot(JSON_LINES, select(flag_keys=["b"]))
    assert one is same
    assert [flag["key"] for flag in read(one)["flags"]] == ["a"]
    assert [flag["key"] for flag in read(other)["flags"]] == ["b"]


def test_the_answer_to_a_request_has_its_id(observed: Observed) -> None:
    cache = SnapshotCache(observed.catalog)
    answers = [read(cache.snapshot(JSON_LINES, EVERYTHING, request_id)) for request_id in ("r1", "r2")]
    assert [answer["requestId"] for answer in answers] == ["r1", "r2"]
    assert len(answers[0]["flags"]) == 2


def test_in_a_dialect_without_requests_the_id_is_left_out(observed: Observed) -> None:
    message = SnapshotCache(observed.catalog).snapshot(Format(EVENTS), EVERYTHING, "r1")
    assert b"r1" not in whole(message)


def test_a_dialect_whose_clients_fetch_the_flags_gets_none(observed: Observed) -> None:
    message = SnapshotCache(observed.catalog).snapshot(Format(REALTIME), EVERYTHING)
    assert whole(message).startswith(b"event: flag.updated")


def test_resyncs_differ_by_their_reason(observed: Observed) -> None:
    cache = SnapshotCache(observed.catalog)
    reasons = [read(cache.resync(JSON_LINES, EVERYTHING, reason))["reason"] for reason in ResyncReason]
    assert reasons == [str(reason) for reason in ResyncReason]


def test_what_was_encoded_is_forgotten_with_the_position(observed: Observed) -> None:
    cache = SnapshotCache(observed.catalog)
    before = read(cache.snapshot(JSON_LINES, EVERYTHING))
    observed.flagent.flag("c")
    observed.commit()
    assert read(cache.snapshot(JSON_LINES, EVERYTHING)) == before
    cache.forget()
    after = read(cache.snapshot(JSON_LINES, EVERYTHING))
    assert [flag["key"] for flag in after["flags"]] == ["a", "b", "c"]
    assert after["position"] == "2"


def test_the_memory_for_many_different_selections_is_bounded(observed: Observed) -> None:
    cache = SnapshotCache(observed.catalog)
    for number in range(200):
        cache.snapshot(JSON_LINES, Selections((Selection.of(flag_keys=[str(number)]),)))
        assert max(len(cache._messages), len(cache._flags)) <= 64
