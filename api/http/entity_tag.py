"""Comparison of entity tags."""

__all__ = ["matches_tag"]


def matches_tag(header: str, etag: str) -> bool:
    """Whether If-None-Match names this tag (RFC 9110, section 13.1.2: weak comparison).

    >>> matches_tag('W/"a", "b"', '"a"'), matches_tag("*", '"a"'), matches_tag("", '"a"')
    (True, True, False)
    """
    return header.strip() == "*" or any(
        tag.strip().removeprefix("W/") == etag.removeprefix("W/") for tag in header.split(",")
    )
