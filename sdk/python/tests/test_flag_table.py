"""The flag table: identities, keys, schemas and recorded changes."""

from __future__ import annotations

from scripted import flag

from flagent_realtime._digest import digest_of
from flagent_realtime._flag_table import FlagIdentity, FlagTable


def changes(table: FlagTable) -> list[tuple[str, str]]:
    return [(change.kind.value, change.key) for change in table.take_changes()]


def test_a_renamed_flag_leaves_its_old_key() -> None:
    table = FlagTable()
    table.put(flag(1, "a"), None)
    assert changes(table) == [("created", "a")]
    table.put(flag(1, "b"), None)
    assert changes(table) == [("deleted", "a"), ("created", "b")]
    assert ("a" in table, "b" in table, len(table)) == (False, True, 1)


def test_a_flag_with_the_key_of_another_replaces_it() -> None:
    table = FlagTable()
    table.put(flag(1, "a"), None)
    table.take_changes()
    table.put(flag(2, "a"), None)
    assert list(table.entries) == [FlagIdentity("", 2)]
    assert changes(table) == [("updated", "a")]


def test_changes_that_cancel_out_are_none() -> None:
    table = FlagTable()
    table.put(flag(1, "a"), None)
    table.remove(FlagIdentity("", 1))
    table.remove(FlagIdentity("", 1))
    assert changes(table) == []
    assert table.digest == "0:00000000"


def test_a_key_is_removed_only_for_its_own_id() -> None:
    table = FlagTable()
    table.put(flag(1, "a"), None)
    table.remove_key("a", None, 2)
    assert "a" in table
    table.remove_key("a", None, None)
    assert "a" not in table


def test_several_schemas_have_a_key_each() -> None:
    table = FlagTable()
    table.begin_replacement(has_several_schemas=True)
    flags = [flag(1, "a", schema="x"), flag(1, "a", schema="y", enabled=True)]
    for each in flags:
        table.put(each, each["schema"])
    assert sorted(table.of_key("a")) == ["x", "y"]
    assert table.lookup_schema("x") == "x"
    assert table.digest == digest_of(flags)
    table.remove(FlagIdentity("x", 1))
    assert sorted(table.of_key("a")) == ["y"]


def test_a_single_schema_is_found_by_its_name() -> None:
    table = FlagTable()
    table.put(flag(1, "a"), "public")
    table.only_schema = "public"
    assert (table.lookup_schema("public"), table.lookup_schema("other")) == ("", "other")
