"""The limit on open streams of one kind."""

import pytest

from api.http.problem import Problem
from api.limits.connection_limit import RETRY_AFTER_S, ConnectionLimit


def test_a_stream_beyond_the_limit_is_refused_until_one_leaves() -> None:
    limit = ConnectionLimit("SSE", 2)
    limit.enter()
    limit.enter()
    with pytest.raises(Problem) as caught:
        limit.enter()
    assert limit.open_count == 2
    limit.leave()
    limit.enter()
    assert limit.open_count == 2
    problem = caught.value
    assert (problem.status, problem.code) == (503, "too_many_connections")
    assert "2 SSE connections" in problem.detail


def test_refused_clients_are_spread_over_several_seconds() -> None:
    limit = ConnectionLimit("WebSocket", 0)
    delays = set()
    for _ in range(200):
        with pytest.raises(Problem) as caught:
            limit.enter()
        delays.add(caught.value.retry_after_s)
    assert delays == set(range(RETRY_AFTER_S[0], RETRY_AFTER_S[1] + 1))
    assert limit.open_count == 0
