import pytest

from cdc.core.deadline import Deadline


def test_it_starts_at_the_least() -> None:
    assert Deadline(least_s=10, most_s=60).seconds == 10


def test_misses_double_it_up_to_the_most() -> None:
    deadline = Deadline(least_s=10, most_s=60)
    seen = []
    for _ in range(4):
        deadline.miss()
        seen.append(deadline.seconds)
    assert seen == [20, 40, 60, 60]


@pytest.mark.parametrize(("took_s", "seconds"), [(0.1, 10), (2.5, 10), (5, 20), (15, 60), (100, 60)])
def test_an_answer_sets_it_to_four_times_its_duration_within_the_bounds(took_s: float, seconds: float) -> None:
    deadline = Deadline(least_s=10, most_s=60)
    deadline.miss()
    deadline.meet(took_s)
    assert deadline.seconds == seconds
