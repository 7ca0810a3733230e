"""The token bucket behind every rate limit."""

import pytest

from api.limits.token_bucket import TokenBucket


def test_a_new_bucket_is_full_and_not_more() -> None:
    bucket = TokenBucket(10, 3, 100.0)
    assert [bucket.take(100.0) for _ in range(5)] == [True, True, True, False, False]


def test_it_refills_at_the_rate() -> None:
    bucket = TokenBucket(10, 3, 0.0)
    assert [bucket.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert not bucket.take(0.05)
    assert bucket.take(0.15)
    assert not bucket.take(0.15)


def test_it_never_holds_more_than_its_capacity() -> None:
    bucket = TokenBucket(10, 2, 0.0)
    assert [bucket.take(3_600.0) for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("rate", [1, 8, 1_024])
def test_over_a_long_time_the_rate_is_exact(rate: int) -> None:
    bucket = TokenBucket(rate, 1, 0.0)
    steps = rate * 40
    taken = sum(bucket.take(step / (rate * 4)) for step in range(steps + 1))
    assert rate * 10 - 1 <= taken <= rate * 10 + 1


def test_a_bucket_of_less_than_one_token_never_gives_one() -> None:
    bucket = TokenBucket(10, 0.5, 0.0)
    assert not bucket.take(0.0)
    assert not bucket.take(60.0)
