"""Finds the SQL text that is shipped in the package `sql`: named queries, database objects, Flagent's tables.

A query file holds entries of this form; the description is one line and obligatory:

    -- name: what it answers, in one line
    select …;

A query that serves every log is written once, with the names of its parts in braces: `{commits}` in a query of log.sql
is the entry `flags_commits` or `commit_commits`, or `commits` where one serves all. Where a kind of log needs another
query, that has an entry for the kind, named in the same way.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Literal, LiteralString

import sql

__all__ = ["DatabaseObject", "LogKind", "describe", "flagent_tables", "log_query", "objects", "queries", "query"]

LogKind = Literal["flags", "commit", "read"]
"""The flags' log, that of a lane ordered at commit, and that of one ordered when read."""

_PART = re.compile(r"\{([a-z_]+)\}")

_REVOKED = re.compile(r"^revoke all on function (?P<function>flagent_cdc\.\w+\([^)]*\))\s+from public;$", re.MULTILINE)

_HEAD = re.compile(r"^-- (?P<name>[a-z][a-z0-9_]*): (?P<description>\S.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class DatabaseObject:
    """A function or trigger: its text creates it, or replaces it where it exists; its name is that of its file."""

    name: str
    text: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def function(self) -> str | None:
        """The function with the types of its arguments, from the statement that revokes it; None for a trigger."""
        found = _REVOKED.search(self.text)
        return None if found is None else found["function"]


def _room(name: str) -> list[Traversable]:
    entries = (entry for entry in resources.files(sql).joinpath(name).iterdir() if entry.name.endswith(".sql"))
    return sorted(entries, key=lambda entry: entry.name)


@cache
def _entries() -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    for file in _room("queries"):
        text = file.read_text(encoding="utf-8")
        heads = list(_HEAD.finditer(text))
        ends = [head.start() for head in heads[1:]] + [len(text)]
        for head, end in zip(heads, ends, strict=True):
            name = head["name"]
            if name in found:
                raise ValueError(f"the query {name!r} is defined twice in sql/queries, again in {file.name}")
            found[name] = (head["description"], text[head.end() : end].strip().removesuffix(";"))
    return found


def query(name: str) -> LiteralString:
    """The text of a named query, without its final semicolon; `KeyError` where there is none.

    It is part of the program, never of its input: hence `LiteralString`, which the driver accepts as a query.
    """
    return _entries()[name][1]


@cache
def log_query(name: str, kind: LogKind) -> LiteralString:
    """A named query in the words of one kind of log."""
    own = f"{kind}_{name}"
    text = query(own if own in _entries() else name)
    for part in _PART.findall(text):
        text = text.replace(f"{{{part}}}", log_query(part, kind))
    return text


def describe(name: str) -> str:
    """The one-line description of a named query."""
    return _entries()[name][0]


def queries() -> frozenset[str]:
    """The names of all queries."""
    return frozenset(_entries())


def objects() -> list[DatabaseObject]:
    """Functions and triggers in the order in which they must be created."""
    return [
        DatabaseObject(file.name.removesuffix(".sql"), file.read_text(encoding="utf-8")) for file in _room("objects")
    ]


def flagent_tables() -> LiteralString:
    """The statements that create Flagent's own tables in the first schema of the search path."""
    return resources.files(sql).joinpath("flagent.sql").read_text(encoding="utf-8")
