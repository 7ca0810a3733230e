"""Sets of characters, compared with Python's sets of code points."""

import random

import pytest

from cdc.core.javaregex.charset import (
    ANY,
    NONE,
    AllOf,
    AnyOf,
    Not,
    Property,
    Ranges,
    any_of,
    are_disjoint,
    both_of,
    fold_ascii,
    fold_unicode,
    none_of,
    ranges,
)

LAST = 0x10FFFF
LETTER = Property("L", "L")


def chars(text: str) -> Ranges:
    return ranges(*((ord(char), ord(char)) for char in text))


def members(known: Ranges, limit: int = 300) -> set[int]:
    return {code for first, last in known.pairs for code in range(first, min(last, limit) + 1)}


def random_ranges(rng: random.Random) -> Ranges:
    starts = [rng.randrange(250) for _ in range(rng.randrange(6))]
    return ranges(*((start, start + rng.randrange(20)) for start in starts))


def test_ranges_are_sorted_and_merged() -> None:
    assert ranges((5, 9), (1, 2), (3, 3), (8, 12), (20, 20)) == Ranges(((1, 3), (5, 12), (20, 20)))
    assert ranges() == NONE


@pytest.mark.parametrize("seed", range(50))
def test_operations_on_ranges_are_those_of_sets(seed: int) -> None:
    rng = random.Random(seed)
    left, right = random_ranges(rng), random_ranges(rng)
    union, both = any_of(left, right), both_of(left, right)
    assert isinstance(union, Ranges)
    assert isinstance(both, Ranges)
    assert members(union) == members(left) | members(right)
    assert members(both) == members(left) & members(right)
    complement = none_of(left)
    assert isinstance(complement, Ranges)
    assert members(complement, LAST).isdisjoint(members(left))
    assert any_of(left, complement) == ANY
    assert none_of(complement) == left
    assert are_disjoint(left, right) is members(left).isdisjoint(members(right))


def test_the_complement_of_all_is_none() -> None:
    assert none_of(ANY) == NONE
    assert none_of(NONE) == ANY


def test_sets_with_properties_stay_trees() -> None:
    digit, other = chars("7"), Property("Nd")
    assert any_of(LETTER) == LETTER
    assert any_of(digit, LETTER) == AnyOf((digit, LETTER))
    assert any_of(any_of(digit, LETTER), chars("8"), other) == AnyOf((chars("78"), LETTER, other))
    assert none_of(LETTER) == Not(LETTER)
    assert none_of(none_of(LETTER)) == LETTER
    assert both_of(LETTER, digit) == AllOf((LETTER, digit))
    assert are_disjoint(LETTER, digit) is False


def test_ascii_folding_adds_the_other_case_of_ascii_letters_only() -> None:
    assert fold_ascii(chars("aZ5é")) == chars("aAzZ5é")
    assert fold_ascii(ranges((0x40, 0x5B))) == ranges((0x40, 0x5B), (0x61, 0x7A))


@pytest.mark.parametrize(
    ("text", "folded"),
    [("k", "kK\u212a"), ("s", "sS\u017f"), ("é", "éÉ"), ("5", "5"), ("ß", "ß"), ("σ", "σςΣ")],
)
def test_unicode_folding_adds_all_cases(text: str, folded: str) -> None:
    assert fold_unicode(chars(text)) == chars(folded)


def test_unicode_folding_of_a_range_includes_that_of_its_characters() -> None:
    whole = fold_unicode(ranges((0x61, 0x7A)))
    for code in range(0x61, 0x7B):
        assert members(fold_unicode(ranges((code, code))), LAST) <= members(whole, LAST)
