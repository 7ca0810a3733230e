"""The subscriber: what it records of each message, and which messages it does not accept."""

from typing import Any

import pytest

from cdc.cli.torture.subscriber import Subscriber, Unexpected
from cdc.cli.torture.verdict import Delivered, Resynced
from cdc.core.log.position import EventId


def flag(key: str, mark: int) -> dict[str, Any]:
    return {"key": key, "description": str(mark)}


@pytest.fixture
def subscriber() -> Subscriber:
    """A subscriber that has received a snapshot at position 7."""
    subscriber = Subscriber([1], "SSE", "public", "seed/3")
    subscriber._take("snapshot", "7@k7q2mx", {"flags": [flag("a", 1), flag("b", 2)]})
    return subscriber


def test_a_snapshot_is_a_restart_with_a_copy_of_the_flags(subscriber: Subscriber) -> None:
    assert subscriber.delivery.name == "SSE 3"
    assert subscriber.delivery.items == [Resynced(7)]
    assert subscriber.delivery.flags == {"a": 1, "b": 2}
    assert (subscriber.events, subscriber.resyncs) == (0, 0)


def test_an_event_is_recorded_with_its_place_and_mark(subscriber: Subscriber) -> None:
    subscriber._take("flag_updated", "8-0@k7q2mx", {"flag": flag("a", 3)})
    subscriber._take("flag_enabled", "8-1@k7q2mx", {"flag": flag("a", 3)})
    assert subscriber.delivery.items[1:] == [Delivered(8, 0, "a", 3), Delivered(8, 1, "a", 3)]
    assert subscriber.delivery.flags == {"a": 3, "b": 2}
    assert subscriber.delivery.texts["a"] == '["3", null, null]'
    assert subscriber.events == 2
    assert subscriber.last_id == EventId.parse("8-1@k7q2mx")


def test_a_keep_alive_moves_the_last_id_only(subscriber: Subscriber) -> None:
    subscriber._take("", "9@k7q2mx", None)
    assert subscriber.last_id == EventId.parse("9@k7q2mx")
    assert subscriber.delivery.items == [Resynced(7)]


def test_a_resync_may_lead_to_another_log(subscriber: Subscriber) -> None:
    subscriber._take("resync", "3@zzzzzz", {"reason": "unknown_id", "snapshot": {"flags": [flag("c", 9)]}})
    assert subscriber.delivery.items == [Resynced(7), Resynced(3)]
    assert subscriber.delivery.flags == {"c": 9}
    assert subscriber.resyncs == 1


@pytest.mark.parametrize(
    ("kind", "id", "data", "words"),
    [
        ("flag_updated", "6-0@k7q2mx", {"flag": flag("a", 3)}, "flag_updated at 6-0@k7q2mx came after 7@k7q2mx"),
        ("", "6@k7q2mx", None, "a keep-alive at 6@k7q2mx came after"),
        ("flag_updated", "8-0@zzzzzz", {"flag": flag("a", 3)}, "of another log without a resync"),
        ("flag_deleted", "8-0@k7q2mx", {}, "flag_deleted without a flag, although no flag is deleted"),
        ("flag_updated", "8@k7q2mx", {"flag": flag("a", 3)}, "although no flag is deleted"),
        ("flag_updated", "nonsense", {"flag": flag("a", 3)}, "SSE 3: "),
    ],
)
def test_a_message_that_should_never_be_sent_is_an_error(
    subscriber: Subscriber, kind: str, id: str, data: dict[str, Any] | None, words: str
) -> None:
    with pytest.raises(Unexpected) as caught:
        subscriber._take(kind, id, data)
    assert words in str(caught.value)
    assert subscriber.delivery.items == [Resynced(7)]
