"""The store core beyond the shared vectors."""

from __future__ import annotations

from typing import Any

from scripted import event, flag

from flagent_realtime._selection import Selection
from flagent_realtime._store_core import MAX_PENDING_EVENTS, StoreCore, StoreStatus


def snapshot(position: int, *flags: dict[str, Any]) -> dict[str, Any]:
    return {"type": "snapshot", "id": f"{position}@k", "position": str(position), "flags": list(flags)}


def test_a_tag_whose_value_is_not_text_is_ignored() -> None:
    core = StoreCore(Selection.of_flags(tags=["t"]))
    odd = flag(1, "a", tags=[{"value": ["t"]}, {"value": {}}, {"value": None}, "t"])
    update = core.receive(snapshot(1, odd, flag(2, "b", tags=[{"value": "t"}])), 0.0)
    assert update.error is None
    assert [entry.key for entry in core.table] == ["b"]


def test_events_beyond_the_limit_are_dropped_while_a_snapshot_is_awaited() -> None:
    core = StoreCore()
    core.receive({"type": "connected", "position": "0", "fresh": True}, 0.0)
    for n in range(MAX_PENDING_EVENTS + 2):
        core.receive(event("flag_created", f"{n + 2}-0@k", flag(n, f"f{n}")), 0.0)
    core.receive(snapshot(1), 0.0)
    assert len(core.table) == MAX_PENDING_EVENTS
    assert {"f0", "f1"}.isdisjoint(entry.key for entry in core.table)


def test_a_failed_snapshot_lets_the_next_digest_request_another() -> None:
    core = StoreCore()
    core.receive({"type": "connected", "position": "1", "fresh": True}, 0.0)
    core.receive(snapshot(1), 0.0)
    heartbeat = {"type": "heartbeat", "id": "1@k", "position": "1", "fresh": True, "digest": "9:00000000"}
    assert core.receive(heartbeat, 1.0).requests_snapshot
    assert not core.receive(heartbeat, 2.0).requests_snapshot
    core.snapshot_failed()
    assert core.status is StoreStatus.STALE
    assert not core.receive(heartbeat, 3.0).requests_snapshot  # one heartbeat of pause after a failed repair
    assert core.receive(heartbeat, 4.0).requests_snapshot
