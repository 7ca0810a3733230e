"""Translation for an engine with backtracking; its matches are tested with the engine."""

import json
from pathlib import Path

import pytest

from cdc.core.javaregex import Unsupported, backtracking_text, parse
from cdc.core.javaregex.backtracking import MAX_SIZE

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "java_regex.json").read_text("utf-8"))


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"(a)(?:b)(?>c)\1", r"(a)(?:b)(?>c)\g<1>"),
        (r"(?i)(-)\1\2", r"(\x2D)(?i:\g<1>)(?!)"),
        ("(?=a)(?!b)(?<=c)(?<!d)", "(?=a)(?!b)(?<=c)(?<!d)"),
        ("a*b+?c?+d{2}e{2,}", "(?:a){0,}(?:b){1,}?(?>c){0,1}+(?:d){2,2}(?:e){2,}"),
        ("a|b", "(?:a|b)"),
        (r"é€😀", r"\xE9\u20AC\U0001F600"),
        (r"\R\X", r"(?:\r\n|[\n-\r\x85\u2028\u2029])\X"),
        ("(?d)$", r"(?=\n?\Z)"),
        ("(?md)^$", r"(?:(?!\Z)(?:\A|(?<=\n)))(?=\n|\Z)"),
        (r"[a-c\p{Lu}]", r"[[a-c]||[\p{Lu}]]"),
        (r"[\p{L}&&[^\p{Lu}]]", r"[[\p{L}]&&[^[\p{Lu}]]]"),
        (r"[\p{L}&&[a&&b]]", r"[[\p{L}]&&[^\x00-\U0010FFFF]]"),
        ("[a&&b]", "(?!)"),
    ],
)
def test_expressions_for_an_engine_with_backtracking(pattern: str, text: str) -> None:
    assert backtracking_text(parse(pattern)) == text


def test_every_expression_of_the_vectors_can_be_translated() -> None:
    unsupported = set()
    for pattern, *answers in VECTORS:
        if answers[0] is not None:
            try:
                backtracking_text(parse(pattern))
            except Unsupported:
                unsupported.add(pattern)
    assert unsupported == {r"\b{g}a", "a{2147483647}"}


@pytest.mark.parametrize("pattern", [r"\b{g}a", "(?:(?:a{1000}){1000}){1000}(?<=a)", "a{2147483647}"])
def test_unsupported_expressions_are_reported(pattern: str) -> None:
    with pytest.raises(Unsupported):
        backtracking_text(parse(pattern))


@pytest.mark.parametrize(("pattern", "is_supported"), [(f"a{{{MAX_SIZE - 1}}}", True), (f"a{{{MAX_SIZE}}}", False)])
def test_the_size_counts_every_repetition(pattern: str, is_supported: bool) -> None:
    if is_supported:
        assert backtracking_text(parse(pattern))
    else:
        with pytest.raises(Unsupported):
            backtracking_text(parse(pattern))
