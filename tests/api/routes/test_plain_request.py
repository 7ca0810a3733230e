"""A request as the routes see it."""

from types import SimpleNamespace
from typing import Any

import pytest

from api.http.problem import Problem
from api.routes.plain_request import PlainRequest
from cdc.auth.identity import ANYBODY
from cdc.core.freshness import Freshness


def plain(*headers: tuple[bytes, bytes], is_loaded: bool = True, fresh: bool = True) -> PlainRequest:
    pipeline = SimpleNamespace(
        is_loaded=is_loaded, freshness=lambda: Freshness(fresh, 2_500), hub=SimpleNamespace(catalog="the catalog")
    )
    services: Any = SimpleNamespace(pipeline=pipeline)
    head: Any = SimpleNamespace(path="/", query=b"", headers=headers)
    return PlainRequest(services, head, ANYBODY, "127.0.0.1")


def test_the_first_value_of_a_header_counts() -> None:
    request = plain((b"accept", b"a"), (b"accept", b"b"))
    assert (request.header(b"accept"), request.header(b"cookie")) == (b"a", b"")


def test_the_present_is_marked_as_stale_while_its_freshness_is_not_confirmed() -> None:
    fresh, stale = plain(), plain(fresh=False)
    assert {str(fresh.present_catalog()), str(stale.present_catalog())} == {"the catalog"}
    assert (fresh.stale_ms, stale.stale_ms) == (None, 2_500)


def test_a_server_that_has_read_nothing_yet_has_no_present() -> None:
    with pytest.raises(Problem) as refused:
        plain(is_loaded=False).present_catalog()
    assert (refused.value.status, refused.value.code) == (503, "not_ready")
