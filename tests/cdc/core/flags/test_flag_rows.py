"""The rows of one flag: packed without loss, rendered as Flagent shows them."""

import pytest

from cdc.core.flags.flag_rows import COLUMNS, PARTS, FlagRows, as_row, as_values
from cdc.core.flags.flag_tables import TABLES
from cdc.core.text.exact_json import JsonText
from tests.cdc.core.flagent import Flagent


def sample() -> FlagRows:
    flagent = Flagent()
    flagent.flag("ключ", description="\ud83d", environment_id=2**40)  # 1
    for rank in (2, 1):
        flagent.insert("segments", flag_id=1, rank=rank)  # 2, 3
    flagent.insert("variants", flag_id=1, attachment='{"a": "\\"b\\""}')  # 4
    flagent.insert("constraints", segment_id=2)  # 5
    flagent.insert("distributions", segment_id=3, variant_id=4)  # 6
    flagent.insert("segments", flag_id=1, deleted_at="2026-05-05T05:05:05")  # 7
    rows = FlagRows(1)
    for table in ("flags", *PARTS):
        for row in flagent.tables[table].values():
            rows.put(table, as_values(table, row))
    return rows


def test_every_table_has_its_columns_and_a_part_its_parent_second() -> None:
    assert set(COLUMNS) == set(TABLES)
    assert {COLUMNS[table][0] for table in TABLES} == {"id"}
    assert {table: COLUMNS[table][1] for table in PARTS} == {table: TABLES[table][0] for table in PARTS}
    assert {table: columns[-1] for table, columns in COLUMNS.items() if table != "flags_tags"} == dict.fromkeys(
        set(TABLES) - {"flags_tags"}, "deleted_at"
    )


def test_packing_loses_nothing() -> None:
    rows = sample()
    again = FlagRows.unpack(rows.pack([(9, "web")]))
    assert (again.flag_id, again.own, again.parts, list(again.tags)) == (1, rows.own, rows.parts, [(9, "web")])
    assert again.render() == rows.render()
    assert again.attachments() == {4: {"a": '"b"'}}


def test_segments_come_by_rank_with_their_own_parts_and_deleted_ones_are_left_out() -> None:
    flag = sample().render()
    assert [segment["id"] for segment in flag["segments"]] == [3, 2]
    assert [len(segment["constraints"]) for segment in flag["segments"]] == [0, 1]
    assert [len(segment["distributions"]) for segment in flag["segments"]] == [1, 0]


@pytest.mark.parametrize("value", [JsonText("1.10"), [JsonText("1.10"), {"a": JsonText("2.0")}]])
def test_a_column_of_an_unexpected_type_is_packed_as_its_json_is_encoded(value: object) -> None:
    rows = FlagRows(1)
    rows.put("flags", as_values("flags", {"id": 1, "key": "a", "notes": value}))
    own = FlagRows.unpack(rows.pack(())).own
    assert own is not None
    assert as_row("flags", own)["notes"] == value


def test_it_is_empty_without_any_row_and_live_with_its_own() -> None:
    rows = sample()
    assert (rows.is_empty, rows.is_live) == (False, True)
    own = rows.own
    rows.remove("flags", 1)
    assert (rows.is_empty, rows.is_live) == (False, False)
    for table in PARTS:
        for row_id in list(rows.parts[table]):
            rows.remove(table, row_id)
    assert rows.is_empty
    assert own is not None
    rows.put("flags", (*own[:-1], "2026-05-05T05:05:05"))
    assert (rows.is_empty, rows.is_live) == (False, False)
