"""The SQL that is shipped: every named query is described, complete for each kind of log, and parses."""

import re
from contextlib import suppress
from typing import get_args

import psycopg
import pytest

from cdc.database.queries import LogKind, describe, flagent_tables, log_query, objects, queries, query

KINDS: tuple[LogKind, ...] = get_args(LogKind)

ASKED_OF_ANY_LOG = (
    "changes_after", "commit_part", "commit_stamp", "commits_after", "commits_before", "log_reach", "log_state",
    "newest_position",
)  # fmt: skip


def wordings(name: str) -> set[str]:
    """A query's text; where it stands for several logs, as each of those is asked."""
    found: set[str] = set()
    for kind in get_args(LogKind):
        with suppress(KeyError):
            found.add(log_query(name, kind))
    return found or {query(name)}


def test_every_named_query_is_described_and_parses(database_url: str) -> None:
    # What is a part of others is parsed within them.
    parts = {part for name in queries() for part in re.findall(r"\{(\w+)\}", query(name))}
    own_words = {f"{kind}_{part}" for kind in get_args(LogKind) for part in parts}
    tables = ("torture_tables", "torture_poison_table")  # what others need
    with psycopg.connect(database_url, autocommit=True) as connection:
        for name in tables:
            connection.execute(query(name).replace("%%", "%").encode())
        for name in sorted(queries()):
            assert describe(name)
            if name in own_words or name in tables:
                continue
            table = "torture_poison" if "poison" in name else "torture_commit"
            for wording in wordings(name):
                text = re.sub(r"\{\w+\}", "flags", re.sub(r"%\(\w+\)s", "null", wording.replace("{table}", table)))
                if not text.startswith(("drop schema", "set local")):
                    connection.execute(b"prepare parsed as " + text.encode())
                    connection.execute("deallocate parsed")


def test_a_query_that_is_not_there_is_an_error() -> None:
    with pytest.raises(KeyError):
        query("no_such_query")


def test_objects_have_an_order_and_a_description() -> None:
    names = [one.name for one in objects()]
    assert names == sorted(names)
    assert all(one.text.startswith("-- ") for one in objects())
    assert "create table flags" in flagent_tables()


def test_functions_are_known_by_their_arguments_and_triggers_by_none() -> None:
    found = {one.name: one for one in objects()}
    functions = [one.function for one in found.values() if one.function is not None]
    assert len(functions) == len(set(functions))
    assert all(re.fullmatch(r"flagent_cdc\.\w+\(.*\)", function, re.DOTALL) for function in functions)
    for one in found.values():
        defines = re.search(r"create or replace function flagent_cdc\.(\w+)", one.text)
        assert (one.function is None) == (defines is None), one.name
        if one.function is not None and defines is not None:
            assert one.function.startswith(f"flagent_cdc.{defines[1]}("), one.name


def test_an_object_has_the_digest_of_its_text() -> None:
    one, other, *_ = objects()
    assert len(one.sha256) == 64
    assert one.sha256 != other.sha256


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ASKED_OF_ANY_LOG)
def test_what_is_asked_of_any_log_is_there_for_each_kind_with_all_its_parts(name: str, kind: LogKind) -> None:
    text = log_query(name, kind)
    assert re.search(r"^(select|with)\b", text, re.MULTILINE)
    assert re.search(r"\{[a-z_]+\}", text) is None


def test_a_kind_of_log_with_a_query_of_its_own_gets_that_one() -> None:
    owned = [(kind, name) for kind in KINDS for name in queries() if f"{kind}_{name}" in queries()]
    for kind, name in owned:
        assert log_query(name, kind) == log_query(f"{kind}_{name}", kind)
    for name in ("commits_after", "log_reach"):
        assert len({log_query(name, kind) for kind in KINDS}) == len(KINDS), name


def test_a_query_is_handed_over_without_its_description_and_final_semicolon() -> None:
    for name in queries():
        assert not query(name).endswith(";"), name
        assert not query(name).startswith(f"-- {name}:"), name
    with pytest.raises(KeyError):
        describe("no_such_query")
    with pytest.raises(KeyError):
        log_query("no_such_query", "flags")
