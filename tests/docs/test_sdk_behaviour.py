"""The behaviour table of the SDKs names tests that exist, in every language that a row is for."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "docs" / "reference" / "sdk-behaviour.md"
VECTORS = ROOT / "sdk" / "vectors"

_TESTS = {
    "Python": ("sdk/python/tests", "**/*.py"),
    "JavaScript": ("sdk/javascript/test", "*.js"),
    "Kotlin": ("sdk/kotlin/tests/src/test", "**/*.kt"),
    "Go": ("sdk/go", "**/*_test.go"),
}
_CASE = re.compile(r"\btc-[a-z0-9]+(?:-[a-z0-9]+)*")
_VECTOR = re.compile(r"\b(?!tc-)[a-z]+-[a-z]?\d+\b")
_FAMILY = re.compile(r"\b((?!tc-)[a-z]+-[a-z]?)…")


def sources(language: str) -> dict[Path, str]:
    room, pattern = _TESTS[language]
    files = {file: file.read_text(encoding="utf-8") for file in (ROOT / room).glob(pattern)}
    assert files, language
    return files


def cases_of(language: str) -> set[str]:
    return {case for text in sources(language).values() for case in _CASE.findall(text)}


def rows() -> Iterator[tuple[str, set[str], str]]:
    """Each row's id, the languages that it is for, and its last column.

    A row that is not for all languages begins with their names in parentheses.
    """
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if found := re.fullmatch(r"\| ([A-Z]\d+) \| (.*?) \| .* \| ([^|]*) \|", line):
            only = re.match(r"\(([^)]*)\)", found[2])
            named = {language for language in _TESTS if only and re.search(rf"\b{language}\b", only[1])}
            yield found[1], named or set(_TESTS), found[3]


def vector_lists() -> Iterator[tuple[str, str | None, list[dict[str, object]]]]:
    """The cases of each file, with the name of their list where the file has several."""
    for file in sorted(VECTORS.glob("*.json")):
        found = json.loads(file.read_text(encoding="ascii"))
        for name, cases in found.items() if isinstance(found, dict) else [(None, found)]:
            yield file.name, name, cases


def test_the_table_is_read() -> None:
    found = {row: languages for row, languages, _ in rows()}
    assert len(found) > 80
    assert (found["C1"], found["L5"], found["C15"]) == (set(_TESTS), {"Python"}, {"Python", "JavaScript", "Go"})


def test_each_language_has_a_test_of_every_case_that_is_for_it() -> None:
    tested = {language: cases_of(language) for language in _TESTS}
    missing = [
        f"{row}: {case} in {language}"
        for row, languages, tests in rows()
        for case in _CASE.findall(tests)
        for language in sorted(languages)
        if case not in tested[language]
    ]
    assert missing == []


def test_tests_name_no_case_that_the_table_does_not_have() -> None:
    known = {case for _, _, tests in rows() for case in _CASE.findall(tests)}
    assert {language: cases_of(language) - known for language in _TESTS} == {language: set() for language in _TESTS}


def test_every_vector_that_the_table_names_exists() -> None:
    ids = {str(case["id"]) for _, _, cases in vector_lists() for case in cases}
    for row, _, tests in rows():
        assert set(_VECTOR.findall(tests)) <= ids, row
        assert all(any(id.startswith(family) for id in ids) for family in _FAMILY.findall(tests)), row


def test_every_language_runs_every_list_of_vectors() -> None:
    missing = []
    for language in _TESTS:
        texts = sources(language).values()
        for file, name, _ in vector_lists():
            stem = re.escape(file.removesuffix(".json"))
            readers = [text for text in texts if re.search(rf'["/]{stem}(?:\.json)?"', text)]
            if not any(name is None or re.search(rf"\b{name}\b", text, re.IGNORECASE) for text in readers):
                missing.append(f"{file} {name or ''} in {language}")
    assert missing == []
