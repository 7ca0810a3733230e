"""The replica of Flagent's tables: which flags a change affects, caching, undo, copies."""

import re
from pathlib import Path
from typing import Any

import pytest

from cdc.core.flags.events import FlagScope
from cdc.core.flags.flag_bound import FlagBound
from cdc.core.flags.flag_tables import TABLES, FlagTables
from cdc.core.log.change import Change, Op
from cdc.core.log.row_text import RowText
from cdc.core.steps import run_steps
from tests.cdc.core.flagent import Flagent

ROOT = Path(__file__).parents[4]

BOUND = FlagBound()


def sample() -> tuple[Flagent, FlagTables]:
    """Two flags; `a` has a segment, a constraint, a distribution, a variant and a tag."""
    flagent = Flagent()
    flagent.flag("a")  # 1
    flagent.insert("segments", flag_id=1)  # 2
    flagent.insert("variants", flag_id=1)  # 3
    flagent.insert("distributions", segment_id=2, variant_id=3)  # 4
    flagent.insert("constraints", segment_id=2)  # 5
    flagent.tag(1, "web")  # 6, 7
    flagent.flag("b")  # 8
    tables = FlagTables()
    for table, rows in flagent.tables.items():
        for row in rows.values():
            tables.put(table, row)
    flagent.changes.clear()
    return flagent, tables


def update(flagent: Flagent, table: str, row_id: int, **columns: Any) -> Change:
    flagent.update(table, row_id, **columns)
    return flagent.changes.pop()


def test_python_and_sql_list_the_same_tables() -> None:
    text = (ROOT / "sql/objects/500_flagent_tables.sql").read_text(encoding="utf-8")
    listed = re.search(r"array\[([^\]]*)\]", text)
    assert listed is not None
    assert re.findall(r"'(\w+)'", listed[1]) == list(TABLES)
    created = re.findall(r"^create table (\w+) ", (ROOT / "sql/flagent.sql").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(TABLES) <= set(created)


@pytest.mark.parametrize(
    ("table", "row_id", "columns", "flags"),
    [
        ("flags", 8, {"description": "x"}, [8]),
        ("segments", 2, {"rank": 1}, [1]),
        ("segments", 2, {"flag_id": 8}, [1, 8]),
        ("variants", 3, {"key": "x"}, [1]),
        ("constraints", 5, {"value": "x"}, [1]),
        ("distributions", 4, {"percent": 1}, [1]),
        ("tags", 6, {"value": "x"}, [1]),
        ("flags_tags", 7, {"flag_id": 8}, [1, 8]),
        ("constraints", 5, {"segment_id": 99}, [1]),
    ],
)
def test_a_change_affects_the_flags_of_its_rows(table: str, row_id: int, columns: Any, flags: list[int]) -> None:
    flagent, tables = sample()
    assert tables.touches(update(flagent, table, row_id, **columns)) == flags


def test_a_child_of_an_unknown_segment_affects_no_flag() -> None:
    flagent, tables = sample()
    flagent.insert("constraints", segment_id=99)
    assert tables.touches(flagent.changes[-1]) == []


def test_a_truncate_affects_flags_in_the_order_of_ids() -> None:
    flagent, tables = sample()
    tables.put("flags", {**flagent.tables["flags"][1], "id": 0, "key": "first"})
    assert tables.touches(Change("public", "flags", Op.TRUNCATE, None, None)) == [0, 1, 8]


def test_a_flag_is_found_by_id_and_by_key_unless_it_is_deleted() -> None:
    flagent, tables = sample()
    flag = tables.flag(1)
    assert flag is not None
    assert flag == tables.flag_by_key("a")
    assert (tables.flag(99), tables.flag_by_key("x")) == (None, None)
    tables.apply(update(flagent, "flags", 1, deleted_at="2026-05-05T05:05:05"))
    assert (tables.flag(1), tables.flag_by_key("a")) == (None, None)
    assert sorted(tables.flag_ids) == [1, 8]


def test_a_change_of_a_part_makes_another_flag_of_the_same_rows() -> None:
    flagent, tables = sample()
    before, stored = tables.flag(1), tables.stored(1)
    tables.apply(update(flagent, "segments", 2, rank=5))
    after = tables.flag(1)
    assert before is not None
    assert after is not None
    assert (before["segments"][0]["rank"], after["segments"][0]["rank"]) == (999, 5)
    assert tables.stored(1) is not stored
    assert tables.stored(1) is tables.stored(1)
    assert [len(after[part]) for part in ("segments", "variants", "tags")] == [1, 1, 1]


def test_what_belongs_to_a_segment_goes_with_it_to_another_flag() -> None:
    flagent, tables = sample()
    tables.apply(update(flagent, "segments", 2, flag_id=8))
    other = tables.flag(8)
    assert other is not None
    assert [len(other["segments"][0][part]) for part in ("constraints", "distributions")] == [1, 1]


def test_rows_of_an_unknown_segment_wait_for_it() -> None:
    flagent, tables = sample()
    segment = flagent.tables["segments"][2]
    gone = Change("public", "segments", Op.DELETE, RowText.of(segment), None)
    tables.apply(gone)
    flag = tables.flag(1)
    assert flag is not None
    assert flag["segments"] == []
    tables.rewind(gone)
    flag = tables.flag(1)
    assert flag is not None
    assert [len(flag["segments"][0][part]) for part in ("constraints", "distributions")] == [1, 1]


def test_flags_are_found_by_their_live_tags() -> None:
    flagent, tables = sample()
    assert [flag.id for flag in tables.stored_by_tag("web")] == [1]
    tables.apply(update(flagent, "tags", 6, value="mobile"))
    assert [[flag.id for flag in tables.stored_by_tag(tag)] for tag in ("web", "mobile")] == [[], [1]]
    assert tables.chunks()[0].flags[0].scope == FlagScope(frozenset({"mobile"}), None, None)
    tables.apply(update(flagent, "flags_tags", 7, flag_id=8))
    assert [flag.id for flag in tables.stored_by_tag("mobile")] == [8]


def test_the_sum_of_hashes_follows_every_change_whichever_copy_hashes_first() -> None:
    flagent, tables = sample()
    twin = run_steps(tables.copy_in_turns())
    assert (tables.unhashed, twin.crc_sum(BOUND)) == (2, tables.crc_sum(BOUND))
    assert (tables.unhashed, twin.unhashed) == (0, 0)
    change = update(flagent, "flags", 8, description="x")
    before = tables.crc_sum(BOUND)
    tables.apply(change)
    assert tables.unhashed == 1
    assert tables.crc_sum(BOUND) != before
    tables.rewind(change)
    assert tables.crc_sum(BOUND) == before
    tables.apply(Change("public", "flags", Op.TRUNCATE, None, None))
    assert (tables.live_count, tables.crc_sum(BOUND)) == (0, 0)


def test_a_copy_may_be_made_while_flags_are_hashed() -> None:
    _, tables = sample()
    hashing, copying = tables.hash_in_turns(BOUND), tables.copy_in_turns()
    for _ in copying:
        next(hashing, None)
    twin = run_steps(sample()[1].copy_in_turns())
    assert tables.crc_sum(BOUND) == twin.crc_sum(BOUND)


def test_a_copy_keeps_all_when_the_first_is_released_and_hashing_ends() -> None:
    _, tables = sample()
    twin = run_steps(tables.copy_in_turns())
    hashing = tables.hash_in_turns(BOUND)
    next(hashing)
    for _ in tables.release_in_turns():
        assert list(hashing) == []
    assert (twin.live_count, twin.unhashed) == (2, 2)
    assert twin.stored_by_key("a") is not None
    assert [flag.id for flag in twin.stored_by_tag("web")] == [1]


def test_undo_restores_rows_and_their_index() -> None:
    flagent, tables = sample()
    change = update(flagent, "segments", 2, flag_id=8)
    tables.apply(change)
    tables.rewind(change)
    flag, other = tables.flag(1), tables.flag(8)
    assert flag is not None
    assert other is not None
    assert ([one["id"] for one in flag["segments"]], other["segments"]) == ([2], [])


def test_neither_side_of_a_copy_sees_changes_of_the_other() -> None:
    flagent, tables = sample()
    twin = run_steps(tables.copy_in_turns())
    change = update(flagent, "segments", 2, rank=5)
    tables.apply(change)
    original, copied = tables.flag(1), twin.flag(1)
    assert original is not None
    assert copied is not None
    assert (original["segments"][0]["rank"], copied["segments"][0]["rank"]) == (5, 999)
    twin.apply(Change("public", "segments", Op.TRUNCATE, None, None))
    emptied = twin.flag(1)
    assert emptied is not None
    assert emptied["segments"] == []
    assert tables.flag(1) is original


def test_attachments_keep_the_quotes_that_the_rest_shape_strips() -> None:
    flagent, tables = sample()
    tables.apply(update(flagent, "variants", 3, attachment='{"colour": "\\"blue\\""}'))
    flag = tables.flag(1)
    assert flag is not None
    assert flag["variants"][0]["attachment"] == {"colour": "blue"}
    assert tables.attachments(1) == {3: {"colour": '"blue"'}}
