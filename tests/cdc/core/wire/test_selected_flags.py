"""What a selection selects, whichever way it is found."""

import json
import random

import pytest

from cdc.core.flags.catalog import Catalog
from cdc.core.subscription.grant import Grant
from cdc.core.subscription.selection import Selection, Selections
from cdc.core.wire.deflate import inflate_block
from cdc.core.wire.selected_flags import SelectedFlags
from tests.cdc.core.flagent import Flagent, Observed

SELECTIONS = {
    "everything": Selection.of(),
    "segments": Selection.of(segments=True),
    "keys": Selection.of(flag_keys=["k3", "k150", "none"]),
    "ids": Selection.of(flag_ids=[1, 7, 10**6]),
    "tags": Selection.of(tags=["t1", "t2"]),
    "all three": Selection.of(flag_keys=["k3"], flag_ids=[1], tags=["t2"]),
    "a schema": Selection.of(schemas=["other"]),
    "within ids": Selection.of(within_ids=[1, 7]),
    "keys within a grant": Selection.of(flag_keys=["k3", "k150"]).within(Grant.parse({"flags": ["k1*"]})),
    "a grant": Selection.of().within(Grant.parse({"tags": ["t1"]})),
    "nothing": Selection.of(flag_keys=["none"]),
    "rows": Selection.of(tables=["x"]),
}


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    rng, catalog = random.Random(3), Flagent().catalog()
    for schema in ("public", "other"):
        flagent = Flagent(schema)
        for number in range(200):
            flag_id = flagent.flag(f"k{number}")
            flagent.tag(flag_id, f"t{rng.randrange(20)}")
        rows = {table: found.values() for table, found in flagent.tables.items()}
        catalog.load(schema, rows, catalog.position)
    return catalog


@pytest.mark.parametrize("name", SELECTIONS)
def test_it_is_what_comparing_every_flag_finds(catalog: Catalog, name: str) -> None:
    selections = Selections((SELECTIONS[name], Selection.of(flag_keys=["k9"], schemas=["public"])))
    found = json.loads(b"[" + SelectedFlags(catalog, selections).whole() + b"]")
    expected = [
        flag.text_with_schema(catalog.bound, schema)
        for schema, chunk in catalog.chunks()
        for flag in chunk.flags
        if selections.selects(schema, flag.id, flag.key, flag.scope)
    ]
    assert found == [json.loads(text) for text in expected]


@pytest.mark.parametrize("name", SELECTIONS)
def test_the_blocks_are_those_of_the_texts(catalog: Catalog, name: str) -> None:
    flags = SelectedFlags(catalog, Selections((SELECTIONS[name],)))
    for place in range(len(flags)):
        block = flags.block(place)
        assert (inflate_block(block) if block else b"") == flags.text(place)
        assert flags.block(place) is block


def test_it_does_not_change_with_the_catalog_and_shares_what_has_not_changed() -> None:
    observed = Observed()
    for number in range(200):
        observed.flagent.flag(f"k{number}")
    observed.commit()
    everything = Selections((Selection.of(),))
    before = SelectedFlags(observed.catalog, everything)
    text, blocks = before.whole(), [before.block(place) for place in range(len(before))]
    observed.flagent.update("flags", 100, description="x")
    observed.commit()
    after = SelectedFlags(observed.catalog, everything)
    assert before.whole() == text != after.whole()
    assert (before.position, after.position) == (1, 2)
    shared = [after.block(place) is block for place, block in enumerate(blocks)]
    assert shared.count(False) == 1
