from dataclasses import dataclass

import pytest

from cdc.core.log.position import EventId, Position
from cdc.core.subscription.ring import Ring
from tests.cdc.core.flagent import LOG


@dataclass(frozen=True)
class Entry:
    event_id: EventId
    size_bytes: int = 10


def entry(position: int, index: int = 0) -> Entry:
    return Entry(EventId(Position(position), index, LOG))


def filled(max_events: int = 100, max_bytes: int = 10_000, count: int = 5) -> Ring[Entry]:
    """Two events in each commit, at positions 10, 20, 30 …, above a floor of 5."""
    ring = Ring[Entry](max_events, max_bytes, Position(5))
    for commit in range(count):
        ring.extend([entry(10 * (commit + 1)), entry(10 * (commit + 1), 1)])
    return ring


@pytest.mark.parametrize(
    ("text", "cursor"),
    [
        ("5@k7q2mx", 0),
        ("7@k7q2mx", 0),
        ("10-0@k7q2mx", 1),
        ("10-1@k7q2mx", 2),
        ("10@k7q2mx", 2),
        ("15-3@k7q2mx", 2),
        ("50@k7q2mx", 10),
        ("99@k7q2mx", 10),
        ("5-0@k7q2mx", None),
        ("4@k7q2mx", None),
    ],
)
def test_a_cursor_stands_at_the_first_event_after_an_id(text: str, cursor: int | None) -> None:
    assert filled().after(EventId.parse(text)) == cursor


def test_events_are_read_from_a_cursor_on() -> None:
    ring = filled()
    assert [str(found.event_id) for found in ring.read(3, 2)] == ["20-1@k7q2mx", "30-0@k7q2mx"]
    assert list(ring.read(10, 5)) == []
    assert (ring.start, ring.end, len(ring), ring.size_bytes) == (0, 10, 10, 100)


@pytest.mark.parametrize("bounds", [{"max_events": 8}, {"max_bytes": 80}])
def test_the_oldest_go_and_what_is_known_of_the_past_goes_with_them(bounds: dict[str, int]) -> None:
    ring = filled(**bounds)
    # The tenth event was one too many; an eighth of the bound is freed at once.
    assert (ring.start, ring.end, len(ring), ring.size_bytes) == (3, 10, 7, 70)
    assert ring.after(EventId.parse("20-0@k7q2mx")) == 3
    assert ring.after(EventId.parse("10@k7q2mx")) is None
    with pytest.raises(IndexError, match="before the ring's start 3"):
        ring.read(2, 1)


def test_the_newest_event_stays_however_large() -> None:
    ring = Ring[Entry](10, 100, Position(0))
    ring.extend([Entry(EventId(Position(1), 0, LOG), 5_000)])
    assert len(ring) == 1
    ring.extend([Entry(EventId(Position(2), 0, LOG), 5_000)])
    assert (len(ring), ring.start, ring.size_bytes) == (1, 1, 5_000)
