r"""The names of `\p{…}` in Java."""

import pytest

from cdc.core.errors import InvalidPattern
from cdc.core.javaregex.charset import ANY, AnyOf, CharSet, Not, Property, Ranges, none_of, ranges
from cdc.core.javaregex.property import DIGIT, SPACE, WORD, class_set, property_set


def of(name: str, *, folds: bool = False, unicode: bool = False) -> CharSet:
    return property_set(name, folds=folds, unicode=unicode)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Alpha", ranges((0x41, 0x5A), (0x61, 0x7A))),
        ("XDigit", ranges((0x30, 0x39), (0x41, 0x46), (0x61, 0x66))),
        ("Digit", DIGIT),
        ("L1", ranges((0, 0xFF))),
        ("all", ANY),
        ("Lu", Property("Lu", "Lu")),
        ("IsLu", Property("Lu", "Lu")),
        ("gc=Lu", Property("Lu", "Lu")),
        ("general_category=Lu", Property("Lu", "Lu")),
        ("IsAlphabetic", Property("Alphabetic")),
        ("IsWhite_Space", class_set("s", unicode=True)),
        ("IsGreek", Property("Script=GREEK", "Greek")),
        ("script=grek", Property("Script=GREEK", "Greek")),
        ("sc=GREEK", Property("Script=GREEK", "Greek")),
        ("IsSignWriting", Property("Script=SIGNWRITING", "SignWriting")),
        ("IsUnknown", Property("Script=Unknown")),
        ("InGreek", ranges((0x370, 0x3FF))),
        ("InGreekAndCoptic", ranges((0x370, 0x3FF))),
        ("blk=Basic Latin", ranges((0, 0x7F))),
        ("block=basic-latin", ranges((0, 0x7F))),
        ("javaUpperCase", Property("Uppercase")),
        ("javaDefined", Not(Property("Cn"))),
    ],
)
def test_a_name_is_a_set(name: str, expected: CharSet) -> None:
    assert of(name) == expected


@pytest.mark.parametrize("name", ["", "Xx", "alpha", "IsXx", "InNowhere", "sc=Nowhere", "foo=Lu", "isLatin", "LATIN"])
def test_a_name_unknown_to_java_is_invalid(name: str) -> None:
    with pytest.raises(InvalidPattern, match="unknown character property"):
        of(name)


def test_cases_are_equal_under_i() -> None:
    assert of("Lu", folds=True) == of("Ll", folds=True) == of("Lt", folds=True) == of("LC")
    assert of("Lower", folds=True) == of("Alpha")
    assert of("IsUppercase", folds=True) == of("javaLowerCase", folds=True)
    assert of("Lu") != of("Ll")


@pytest.mark.parametrize(("name", "expected"), [("Alpha", Property("Alphabetic")), ("Digit", Property("Nd", "Nd"))])
def test_posix_names_are_extended_under_unicode(name: str, expected: CharSet) -> None:
    assert of(name, unicode=True) == expected
    assert isinstance(of(name), Ranges)


@pytest.mark.parametrize(("letter", "known"), [("d", DIGIT), ("s", SPACE), ("w", WORD)])
def test_predefined_classes_are_ascii_without_unicode(letter: str, known: Ranges) -> None:
    assert class_set(letter, unicode=False) == known
    assert class_set(letter.upper(), unicode=False) == none_of(known)
    assert class_set(letter, unicode=True) != known


def test_other_predefined_classes_do_not_depend_on_unicode() -> None:
    for letter in "hv":
        assert class_set(letter, unicode=True) == class_set(letter, unicode=False)
    assert isinstance(class_set("w", unicode=True), AnyOf)
