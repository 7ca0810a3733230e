import random

from cdc.core.histogram import LATENCY_BOUNDS_S, Histogram


def test_a_value_on_a_bound_is_in_the_bucket_below() -> None:
    histogram = Histogram((1, 2))
    for value in (0, 1, 1.0001, 2, 2.0001):
        histogram.observe(value)
    assert histogram.counts == [2, 2, 1]
    assert histogram.cumulative() == [2, 4, 5]


def test_an_empty_histogram_has_only_zeros() -> None:
    histogram = Histogram()
    assert histogram.counts == [0] * (len(LATENCY_BOUNDS_S) + 1)
    assert (histogram.cumulative()[-1], histogram.sum) == (0, 0.0)


def test_the_bounds_of_latencies_increase() -> None:
    assert list(LATENCY_BOUNDS_S) == sorted(set(LATENCY_BOUNDS_S))


def test_counts_and_sum_agree_with_the_values() -> None:
    rng = random.Random(7)
    values = [rng.expovariate(1) for _ in range(1000)]
    histogram = Histogram((0.1, 0.5, 1.0))
    for value in values:
        histogram.observe(value)
    assert histogram.cumulative() == [*(sum(value <= bound for value in values) for bound in (0.1, 0.5, 1.0)), 1000]
    assert abs(histogram.sum - sum(values)) < 1e-9
