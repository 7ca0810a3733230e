import pytest

from cdc.core.errors import InvalidEventId
from cdc.core.log.position import EventId, LogId, Position, commit_hash


@pytest.mark.parametrize(
    "text", ["1042-0@k7q2mx", "1042@k7q2mx", "0@a", "7-1@k7q2mx.3f0c9a", "7@k.0", f"{2**63 - 1}-999999999@{'z' * 32}"]
)
def test_an_id_is_read_as_it_is_written(text: str) -> None:
    assert str(EventId.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1042",
        "1042-0",
        "@k7q2mx",
        "-1@k",
        "1042-@k",
        "1042-0@K7",
        "1042-0@k\n",
        " 1@k",
        "٣@k",
        "1@k.",
        "1@k.a.b",
        "1@k.A",
        "1" * 99 + "@k",
    ],
)
def test_anything_else_is_refused_in_one_short_sentence(text: str) -> None:
    with pytest.raises(InvalidEventId) as caught:
        EventId.parse(text)
    assert (caught.value.name, caught.value.code) == ("lastEventId", "invalid_event_id")
    assert len(str(caught.value)) < 180


def test_ids_grow_by_position_then_index_and_a_whole_commit_comes_last() -> None:
    log = LogId("k")
    ids = [EventId(Position(position), index, log) for position in (9, 10) for index in (0, 1, 10, None)]
    for place, one in enumerate(ids):
        for other_place, other in enumerate(ids):
            assert one.is_before(other) is (place < other_place)


def test_the_hash_of_a_commit_differs_by_its_time_and_by_its_transaction() -> None:
    at, later = "2026-11-23T08:00:00.123456Z", "2026-11-23T08:00:00.123457Z"
    assert commit_hash(at, 761) == commit_hash(at, 761)
    assert len({commit_hash(at, 761), commit_hash(at, 762), commit_hash(later, 761), commit_hash(later, 762)}) == 4
    assert str(EventId(Position(7), None, LogId("k"), commit_hash(at, 761))) == f"7@k.{commit_hash(at, 761)}"
