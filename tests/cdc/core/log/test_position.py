import pytest

from cdc.core.errors import InvalidEventId
from cdc.core.log.position import EventId, LogId, Position


@pytest.mark.parametrize("text", ["1042-0@k7q2mx", "1042@k7q2mx", "0@a", f"{2**63 - 1}-999999999@{'z' * 32}"])
def test_an_id_is_read_as_it_is_written(text: str) -> None:
    assert str(EventId.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "1042", "1042-0", "@k7q2mx", "-1@k", "1042-@k", "1042-0@K7", "1042-0@k\n", " 1@k", "٣@k", "1" * 99 + "@k"],
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
