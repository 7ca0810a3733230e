import pytest

from cdc.core.flags.default_schema import default_schema


@pytest.mark.parametrize(
    ("schemas", "expected"),
    [
        (("public",), "public"),
        (("a", "public", "z"), "public"),
        (("a", "b"), "a"),
        ((), "public"),
    ],
)
def test_public_is_preferred_to_the_first_schema(schemas: tuple[str, ...], expected: str) -> None:
    assert default_schema(schemas) == expected
