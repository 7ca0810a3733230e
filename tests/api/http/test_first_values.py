import pytest

from api.http.first_values import first_values


@pytest.mark.parametrize(
    ("query", "values"),
    [
        (b"", {}),
        (b"tags=", {"tags": ""}),
        (b"tags", {}),
        (b"tags&tags=a", {"tags": "a"}),
        (b"tags=a&tags=b", {"tags": "a"}),
        (b"&a=1&&b=2&", {"a": "1", "b": "2"}),
        (b"a=b=c", {"a": "b=c"}),
        (b"a=1;b=2", {"a": "1;b=2"}),
        (b"a=x+y%2Bz%C3%A9", {"a": "x y+z\u00e9"}),
        (b"a%62=%3D", {"ab": "="}),
        (b"a=%ff", {"a": "\ufffd"}),
    ],
)
def test_the_first_value_counts_as_in_ktor(query: bytes, values: dict[str, str]) -> None:
    assert first_values(query) == values
