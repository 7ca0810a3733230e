from cdc.core.log.captured_table import CapturedTable
from cdc.core.log.lane import FLAGS


def table(id: int | None) -> CapturedTable:
    return CapturedTable(id, "public", "orders", ("id",), None, (), ("insert",), False, FLAGS)


def test_a_table_is_named_with_its_schema() -> None:
    assert table(1).name == "public.orders"


def test_a_table_without_a_number_is_one_of_flagents() -> None:
    assert table(None).is_of_flags
    assert not table(1).is_of_flags
