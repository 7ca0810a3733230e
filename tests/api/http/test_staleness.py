"""The mark of a response that may be out of date."""

from typing import Any

from api.http.staleness import mark_stale, staleness


def test_a_response_is_marked_with_the_seconds_since_its_freshness_was_confirmed() -> None:
    scope: dict[str, Any] = {"type": "http"}
    assert staleness(scope) is None
    mark_stale(scope, 4_999)
    assert staleness(scope) == 4
