"""Equal values become one object."""

from cdc.core.interned import interned


def test_equal_values_of_one_type_become_one_object() -> None:
    first, second = (frozenset({"shop.orders"}) for _ in range(2))
    assert first is not second
    assert interned(first) is interned(second)
    assert interned(1) is not interned(True)
