"""The pace of repairs by snapshot."""

from __future__ import annotations

from itertools import pairwise

from flagent_realtime._digest_check import MAX_SNAPSHOT_PAUSE, DigestCheck


def test_repairs_that_fail_are_requested_less_and_less_often() -> None:
    check = DigestCheck()
    requests = [n for n in range(400) if check.compare("1:00000000", "2:00000000")]
    gaps = [after - before for before, after in pairwise(requests)]
    assert gaps[:8] == [2, 3, 5, 9, 17, 33, 65, 65]
    assert max(gaps) == MAX_SNAPSHOT_PAUSE + 1


def test_an_equal_digest_resets_the_pace() -> None:
    check = DigestCheck()
    for _ in range(50):
        check.compare("1:00000000", "2:00000000")
    assert check.differs
    assert not check.compare("2:00000000", "2:00000000")
    assert not check.differs
    assert check.compare("1:00000000", "2:00000000")


def test_a_snapshot_clears_the_difference_unless_an_earlier_one_failed() -> None:
    check = DigestCheck()
    check.compare("1:00000000", "2:00000000")
    check.snapshot_received()
    assert not check.differs
    check.compare("1:00000000", "2:00000000")
    check.snapshot_received()
    assert check.differs
