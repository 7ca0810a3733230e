"""The tables of scripts and blocks."""

import unicodedata
from itertools import pairwise

import pytest

from cdc.core.javaregex.names import BLOCKS, SCRIPTS


def test_blocks_do_not_overlap_and_end_at_the_last_code_point() -> None:
    pairs = list(BLOCKS.values())
    assert pairs == sorted(pairs)
    assert all(last < next_first for (_, last), (next_first, _) in pairwise(pairs))
    assert (pairs[0][0], pairs[-1][1]) == (0, 0x10FFFF)


def test_every_code_of_a_script_has_four_letters_and_a_full_name() -> None:
    full_names = set(SCRIPTS.values())
    assert full_names <= SCRIPTS.keys()
    assert all(len(name) == 4 for name in SCRIPTS.keys() - full_names)


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [("BASIC_LATIN", 0, 0x7F), ("GREEK", 0x370, 0x3FF), ("EMOTICONS", 0x1F600, 0x1F64F), ("THAI", 0xE00, 0xE7F)],
)
def test_blocks_have_the_ranges_of_unicode(name: str, first: int, last: int) -> None:
    assert BLOCKS[name] == (first, last)


@pytest.mark.parametrize(
    ("code", "name"), [("LATN", "LATIN"), ("ZYYY", "COMMON"), ("CYRL", "CYRILLIC"), ("THAI", "THAI")]
)
def test_scripts_are_known_by_code_and_name(code: str, name: str) -> None:
    assert (SCRIPTS[code], SCRIPTS[name]) == (name, name)


def test_letters_of_a_block_carry_its_name_in_unicode() -> None:
    for block, word in (("GREEK", "GREEK"), ("THAI", "THAI"), ("CYRILLIC", "CYRILLIC")):
        first, last = BLOCKS[block]
        names = [unicodedata.name(chr(code), "") for code in range(first, last + 1)]
        assert sum(word in name for name in names) > len(names) / 2
