"""Rate limits on ordinary requests."""

import asyncio

import pytest

from api.http.problem import Problem
from api.limits import request_rate
from api.limits.request_rate import RequestRateLimiter


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The loop's clock, set by the test."""
    now = [1_000.0]
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now[0])
    return now


def refusals(limiter: RequestRateLimiter, client: str | None, count: int) -> int:
    refused = 0
    for _ in range(count):
        try:
            limiter.use(client)
        except Problem:
            refused += 1
    return refused


async def test_without_limits_every_request_passes(clock: list[float]) -> None:
    limiter = RequestRateLimiter()
    assert refusals(limiter, "203.0.113.7", 10_000) == 0
    assert limiter.refused == 0


async def test_each_client_has_its_own_second_of_requests(clock: list[float]) -> None:
    limiter = RequestRateLimiter(per_s_and_client=10)
    assert refusals(limiter, "203.0.113.7", 15) == 5
    assert refusals(limiter, "203.0.113.8", 10) == 0
    clock[0] += 0.5
    assert refusals(limiter, "203.0.113.7", 10) == 5
    assert limiter.refused == 10


async def test_a_client_of_this_machine_counts_only_towards_the_total(clock: list[float]) -> None:
    assert refusals(RequestRateLimiter(per_s_and_client=1), None, 100) == 0
    assert refusals(RequestRateLimiter(per_s=10, per_s_and_client=1), None, 30) == 20


async def test_a_client_beyond_its_limit_takes_nothing_from_the_others(clock: list[float]) -> None:
    limiter = RequestRateLimiter(per_s=20, per_s_and_client=10)
    assert refusals(limiter, "203.0.113.7", 1_000) == 990
    assert refusals(limiter, "203.0.113.8", 10) == 0
    with pytest.raises(Problem) as caught:
        limiter.use("203.0.113.9")
    problem = caught.value
    assert (problem.status, problem.code, problem.retry_after_s) == (429, "too_many_requests", 1)
    assert "20 requests per second to this server" in problem.detail


async def test_the_least_recently_used_bucket_is_dropped(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_rate, "_MAX_CLIENTS", 2)
    limiter = RequestRateLimiter(per_s_and_client=1)
    for client in ("a", "b", "a", "c"):
        refusals(limiter, client, 1)
    # `a` was used last, so `b` made room for `c`: `b` has a new bucket, `a` has the empty one.
    assert refusals(limiter, "a", 1) == 1
    assert refusals(limiter, "b", 1) == 0
