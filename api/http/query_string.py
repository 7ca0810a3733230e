"""Decoding of query strings."""

from urllib.parse import parse_qsl

from .problem import Problem

__all__ = ["decode_query"]

_MAX_FIELDS = 2_000


def decode_query(query: bytes) -> list[tuple[str, str]]:
    """The decoded pairs of a raw query string, in their order; raises `Problem`.

    >>> decode_query(b"flag=a%20b&flag=&x=1")
    [('flag', 'a b'), ('flag', ''), ('x', '1')]
    """
    try:
        return parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS)
    except ValueError as error:
        raise Problem(
            400,
            "invalid_query",
            f"malformed query string; send percent-encoded UTF-8 with at most {_MAX_FIELDS} fields",
        ) from error
