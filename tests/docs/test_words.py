"""User-facing text keeps to the glossary: one word for one thing, and none of the words that it rules out."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

NEVER = {
    r"\b(told|tell|tells|telling)\b": "say publish, deliver, return, show or log",
    r"\b(nobody|whoever|whomever)\b": "name the component or the user",
    r"\bstreams? of (its|their|our|your) own\b": "say lane",
    r"\bstreams? of the flags\b|\bflags' stream\b": "say the lane of the flags",
    r"\b(mode|modes) (horizon|notify)\b|\bhorizon_log\b": "say ordered when read, ordered at commit",
    r"--stream NAME --mode|\bwatch\b[^\n]* --mode\b": "say --lane NAME --order",
    r"(?<!heart)\bbeats?\b": "say keep-alive (SSE) or heartbeat (WebSocket)",
    r"\btold columns?\b|\btold_(columns|image)\b": "say visible columns, visible row",
    r"\bseal(s|ed|ing)?\b": "say assign the position",
    r"\bLOG_MAX_(AGE|BYTES)\b": "say FLAGENT_CDC_RETENTION_MAX_AGE, …_MAX_BYTES",
}
"""What is never written, as a regular expression, and what to write instead."""

# Names of other systems.
EXCEPTED = {
    "cdc/embedded/programs.py": {"nobody": "the account without privileges that every Unix has"},
    "cdc/jetstream/layout.py": {"sealed": "a setting of a JetStream stream, under the name that NATS gives it"},
}
"""The words that a module may use, each with the reason."""

# They show what was renamed, and the old name with it.
OLD_NAMES = {"CHANGELOG.md", "docs/how-to/upgrade.md"}

PAGES = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/**/*.md", "docs/reference/asyncapi.yaml", "sdk/*/README.md", "sdk/vectors/README.md")
    for path in ROOT.glob(pattern)
)
# Without the revisions: they keep the names that their tables had.
MODULES = sorted(
    str(path.relative_to(ROOT))
    for room in ("cdc", "api", "sql")
    for path in (ROOT / room).rglob("*.py")
    if path.parent.name != "versions"
)
QUERIES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "sql").rglob("*.sql"))
PAGE = sorted(
    str(path.relative_to(ROOT)) for suffix in ("js", "html") for path in (ROOT / "api/page").rglob(f"*.{suffix}")
)


def found_in(text: str) -> list[str]:
    return [
        f"{match[0]!r}: {instead}"
        for pattern, instead in NEVER.items()
        for match in re.finditer(pattern, text, re.IGNORECASE)
    ]


@pytest.mark.parametrize("page", [page for page in PAGES if page not in OLD_NAMES])
def test_a_page_uses_none_of_the_words_that_the_glossary_rules_out(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    # Names of tests are code: the table of promises links to them.
    assert found_in(re.sub(r"`tests/[\w/]+\.py(::\w+)?`", "", text)) == []


def literals(module: ast.Module) -> Iterator[str]:
    """Every text in a module: messages, help, log lines and docstrings."""
    for node in ast.walk(module):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@pytest.mark.parametrize("module", MODULES)
def test_the_messages_and_docstrings_of_a_module_use_none_of_them(module: str) -> None:
    tree = ast.parse((ROOT / module).read_text(encoding="utf-8"))
    found = [each for text in literals(tree) for each in found_in(text)]
    excepted = EXCEPTED.get(module, {})
    assert [each for each in found if each.split("'")[1] not in excepted] == []
    assert {each.split("'")[1] for each in found} == excepted.keys(), "an exception that is no longer needed"


@pytest.mark.parametrize("file", [*QUERIES, *PAGE])
def test_sql_and_the_page_use_none_of_them(file: str) -> None:
    assert found_in((ROOT / file).read_text(encoding="utf-8")) == []


def test_the_words_are_found_where_they_stand() -> None:
    text = "Nobody was told of a stream of its own; it beats, and a heartbeat does not."
    assert [found.partition(":")[0] for found in found_in(text)] == [
        "'told'", "'Nobody'", "'stream of its own'", "'beats'",
    ]  # fmt: skip
