"""A change of columns is read from the log's images, and narrowed to what a reader may see."""

import json

import pytest

from cdc.core.log.row_text import RowText
from cdc.core.log.schema_change import SchemaChange, SchemaColumn

ID, MAIL, TOTAL = SchemaColumn("id", "bigint"), SchemaColumn("mail", "text"), SchemaColumn("total", "numeric(10,2)")


def test_what_it_writes_it_reads() -> None:
    change = SchemaChange((ID, MAIL), (ID, TOTAL), rewritten=True)
    before, after = change.images()
    assert json.loads(after) == {"columns": [ID.to_json(), TOTAL.to_json()], "rewritten": True}
    assert SchemaChange.read(RowText(before), RowText(after)) == change
    assert SchemaChange.of_json(change.to_json()) == change


def test_images_that_are_missing_have_no_columns() -> None:
    assert SchemaChange.read(None, None) == SchemaChange((), (), rewritten=False)


def test_a_name_that_is_not_utf8_is_made_readable() -> None:
    image = RowText.load(b'{"columns":[{"name":"\xff","type":"text"},{"name":"\xc3\xa4","type":"text"}]}')
    assert [column.name for column in SchemaChange.read(image, None).before] == ["�", "ä"]


@pytest.mark.parametrize(
    ("change", "columns", "seen"),
    [
        (SchemaChange((ID,), (ID, MAIL), rewritten=False), None, ((ID,), (ID, MAIL))),
        (SchemaChange((ID,), (ID, MAIL), rewritten=False), frozenset({"mail"}), ((), (MAIL,))),
        (SchemaChange((ID,), (ID, MAIL), rewritten=False), frozenset({"id"}), None),
        (SchemaChange((ID, MAIL), (ID, MAIL), rewritten=True), frozenset({"id"}), ((ID,), (ID,))),
    ],
    ids=["all columns", "the column that came", "only others", "only others, but rewritten"],
)
def test_a_reader_of_some_columns_sees_what_concerns_them(
    change: SchemaChange,
    columns: frozenset[str] | None,
    seen: tuple[tuple[SchemaColumn, ...], tuple[SchemaColumn, ...]] | None,
) -> None:
    found = change.within(columns)
    assert (None if found is None else (found.before, found.after)) == seen
