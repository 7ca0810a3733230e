"""Decoding of query strings."""

import pytest

from api.http.problem import Problem
from api.http.query_string import decode_query


def test_pairs_keep_their_order_and_blank_values() -> None:
    assert decode_query(b"b=2&a=1&b=&c&=x") == [("b", "2"), ("a", "1"), ("b", ""), ("c", ""), ("", "x")]
    assert decode_query(b"") == []


def test_percent_encoding_and_plus_are_decoded_as_utf_8() -> None:
    assert decode_query(b"flag=%C3%A4%20b+c&x=%26%3D") == [("flag", "ä b c"), ("x", "&=")]


@pytest.mark.parametrize(
    "query", [b"flag=%ff", b"flag=\xe4", b"&".join([b"a=1"] * 2_001)], ids=["percent", "raw", "long"]
)
def test_a_malformed_query_string_is_a_problem(query: bytes) -> None:
    with pytest.raises(Problem) as caught:
        decode_query(query)
    assert (caught.value.status, caught.value.code) == (400, "invalid_query")
    assert "2000 fields" in caught.value.detail


def test_as_many_fields_as_the_message_says_are_accepted() -> None:
    assert len(decode_query(b"&".join([b"a=1"] * 2_000))) == 2_000
