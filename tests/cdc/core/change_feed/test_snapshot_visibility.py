"""What a snapshot has seen, as cursors carry it."""

import pytest

from cdc.core.change_feed.snapshot_visibility import SnapshotVisibility

SEEN = SnapshotVisibility(1050, 1060, frozenset({1050, 1055}))


def test_it_is_read_as_it_is_written_and_as_postgres_writes_it() -> None:
    assert SnapshotVisibility.parse(str(SEEN)) == SnapshotVisibility.of_pg_snapshot(SEEN.as_pg_snapshot) == SEEN
    assert (str(SEEN), SEEN.as_pg_snapshot) == ("1050_10_0_5", "1050:1060:1050,1055")
    nothing_runs = SnapshotVisibility.of_pg_snapshot("7:7:")
    assert (str(nothing_runs), nothing_runs.as_pg_snapshot, SnapshotVisibility.parse("7_0")) == (
        "7_0",
        "7:7:",
        nothing_runs,
    )


def test_it_has_seen_all_that_had_ended() -> None:
    assert [xid for xid in range(1048, 1062) if not SEEN.sees(xid)] == [1050, 1055, 1060, 1061]


@pytest.mark.parametrize(
    "text", ["", "7", "7_", "_7", "7_1_", "7_1_1", "7_3_9", "0_1", "-7_1", "7:8:", "9223372036854775807_1", "٧_1"]
)
def test_anything_else_is_none(text: str) -> None:
    assert SnapshotVisibility.parse(text) is None
