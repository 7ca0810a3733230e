"""Comparison of entity tags."""

import pytest

from api.http.entity_tag import matches_tag


@pytest.mark.parametrize(
    ("header", "etag", "matches"),
    [
        ('"a"', '"a"', True),
        ('W/"a"', '"a"', True),
        ('"a"', 'W/"a"', True),
        ('"b", W/"a" ,"c"', '"a"', True),
        ("*", '"a"', True),
        (" * ", '"a"', True),
        ('"ab"', '"a"', False),
        ("a", '"a"', False),
        ("", '"a"', False),
    ],
)
def test_the_comparison_is_weak(header: str, etag: str, matches: bool) -> None:
    assert matches_tag(header, etag) is matches
