"""Snapshots and resyncs, encoded once for equal selections."""

import json
from typing import Any

import pytest

from cdc.core.subscription.resume import ResyncReason
from cdc.core.subscription.selection import Selection, Selections
from cdc.core.wire.dialect import EVENTS, MESSAGES
from cdc.core.wire.format import Format
from cdc.fanout.snapshot_cache import SnapshotCache, SnapshotMessage
from tests.cdc.core.flagent import Observed
from tests.cdc.fanout.memory import EVERYTHING, JSON_LINES, select


@pytest.fixture
def observed() -> Observed:
    observed = Observed()
    for key in ("a", "b"):
        observed.flagent.flag(key)
    observed.commit()
    return observed


def read(pieces: Any) -> Any:
    return json.loads(b"".join(pieces))


def test_a_snapshot_is_encoded_once_for_equal_selections(observed: Observed) -> None:
    cache = SnapshotCache(observed.catalog)
    (one,) = cache.snapshot(JSON_LINES, select(flag_keys=["a"]))
    (same,) = cache.snapshot(Format(MESSAGES, is_framed=False), select(flag_keys=["a"]))
    (other,) = cache.snapshot(JSON_LINES, select(flag_keys=["b"]))
    assert one is same
    assert isinstance(one, SnapshotMessage)
    assert [flag["key"] for flag in json.loads(one)["flags"]] == ["a"]
    assert [flag["key"] for flag in json.loads(other)["flags"]] == ["b"]


def test_the_answer_to_a_request_shares_all_but_its_head(observed: Observed) -> None:
    cache = SnapshotCache(observed.catalog)
    first_head, first_tail = cache.snapshot(JSON_LINES, EVERYTHING, "r1")
    second_head, second_tail = cache.snapshot(JSON_LINES, EVERYTHING, "r2")
    assert first_tail is second_tail
    assert [read((head, first_tail))["requestId"] for head in (first_head, second_head)] == ["r1", "r2"]
    assert len(read((first_head, first_tail))["flags"]) == 2


def test_in_a_dialect_without_requests_the_id_is_left_out(observed: Observed) -> None:
    (message,) = SnapshotCache(observed.catalog).snapshot(Format(EVENTS), EVERYTHING, "r1")
    assert b"r1" not in message


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
        list(cache.snapshot(JSON_LINES, Selections((Selection.of(flag_keys=[str(number)]),))))
        assert len(cache._kept) <= 64


def test_the_memory_for_large_snapshots_is_bounded(observed: Observed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdc.fanout.snapshot_cache._KEPT_BYTES", 10_000)
    cache = SnapshotCache(observed.catalog)
    for number in range(50):
        asked = Selections((Selection.of(flag_keys=["a", "b", str(number)]),))
        list(cache.snapshot(JSON_LINES, asked))
        kept = sum(map(len, cache._kept.values()))
        assert 0 < kept <= 10_000
