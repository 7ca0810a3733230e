import pytest

from cdc.core.backoff import Backoff


def backoff() -> Backoff:
    return Backoff(first_s=0.1, most_s=10, proven_s=10)


def test_pauses_double_up_to_the_most() -> None:
    waiting = backoff()
    pauses = [waiting.pause_s(0, 1) for _ in range(10)]
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10, 10])


def test_only_a_session_that_lasted_makes_them_short_again() -> None:
    waiting = backoff()
    assert [waiting.pause_s(lasted_s, 1) for lasted_s in (0, 10, 10.1, 0)] == pytest.approx([0.1, 0.2, 0.1, 0.2])


@pytest.mark.parametrize(("jitter", "pause_s"), [(0, 0.05), (0.5, 0.075), (1, 0.1)])
def test_jitter_takes_away_up_to_half(jitter: float, pause_s: float) -> None:
    assert backoff().pause_s(0, jitter) == pytest.approx(pause_s)
