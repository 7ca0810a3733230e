"""`flagent-cdc watch`: captures the changes of a data team's table, and lists what is watched."""

import argparse
import json
from collections.abc import Mapping
from typing import Any

from cdc.admin.watched_tables import MODES, OPERATIONS, WatchOptions, list_watched, watch
from cdc.cli.command import Command, Parser, database_url, settings_from
from cdc.core.errors import InvalidInput

_DESCRIPTION = (
    "Capture every change of a table, by any writer. Watching a table again changes the options to those given now. "
    "TABLE is written as in SQL: analytics.orders, or '\"Order Items\"'."
)

_OPTIONS = ("key", "include", "exclude", "mask", "predicate", "operations", "stream", "mode")


def add_arguments(parser: Parser) -> None:
    parser.description = _DESCRIPTION
    parser.add_argument("table", nargs="?", metavar="TABLE", help="an ordinary or partitioned table")
    parser.add_argument("--list", action="store_true", help="show what is watched, and what is wrong with it")
    parser.add_argument("--json", action="store_true", help="show it for programs, one table a line")
    key = parser.add_mutually_exclusive_group()
    key.add_argument(
        "--key", action="append", metavar="COLUMN", help="a column of the key (repeatable); else the table's own key"
    )
    key.add_argument("--no-key", action="store_const", dest="key", const=[], help="the whole row is the key")
    columns = parser.add_mutually_exclusive_group()
    columns.add_argument("--include", action="append", metavar="COLUMN", help="tell only this column (repeatable)")
    columns.add_argument("--exclude", action="append", metavar="COLUMN", help="do not tell this column (repeatable)")
    parser.add_argument("--mask", action="append", metavar="COLUMN", help="tell this column as null (repeatable)")
    parser.add_argument(
        "--where", dest="predicate", metavar="SQL", help="tell only rows that satisfy this, such as 'total > 100'"
    )
    parser.add_argument(
        "--operation",
        dest="operations",
        action="append",
        choices=OPERATIONS,
        help="tell only this (repeatable); else all",
    )
    parser.add_argument(
        "--stream",
        metavar="NAME",
        help="a stream of its own, so that flags do not wait for its commits; else that of the flags",
    )
    parser.add_argument(
        "--mode",
        choices=MODES,
        help="how that stream gets its order: at each commit, or by its readers, which costs writers least",
    )
    parser.add_setting("--database-url", "database.url")


def run(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    url = database_url(settings_from(arguments, environment))
    options = {name: value for name in _OPTIONS if (value := getattr(arguments, name)) is not None}
    if arguments.list:
        if arguments.table is not None or options:
            raise InvalidInput("--list shows all watched tables and takes no TABLE and no other options", name="--list")
        for one in list_watched(url):
            print(json.dumps(one) if arguments.json else _line(one))
        return 0
    if arguments.table is None or arguments.json:
        raise InvalidInput("name a TABLE to watch, or give --list, with or without --json", name="TABLE")
    outcome = watch(url, arguments.table, WatchOptions(**options), print)
    print(f"{arguments.table}: {_SAID[outcome]}")
    return 0


_SAID = {
    "watched": "is watched from now on",
    "changed": "is watched otherwise from now on",
    "unchanged": "is watched like that already, nothing to do",
}


def _line(one: Mapping[str, Any]) -> str:
    said = [f"{one['schema']}.{one['table']}", "key " + (", ".join(one["key"]) or "the whole row")]
    if one["include"] is not None:
        said.append("columns " + ", ".join(name for name in one["include"] if name not in one["mask"]))
    if one["mask"]:
        said.append("masked " + ", ".join(one["mask"]))
    if one["predicate"] is not None:
        said.append("where " + " ".join(one["predicate"].split()))
    if len(one["operations"]) < len(OPERATIONS):
        said.append("only " + ", ".join(one["operations"]))
    if one["stream"] != "flags":
        said.append(f"stream {one['stream']}, {one['mode']}")
    return "\n".join(["; ".join(said), *(f"  ! {problem}" for problem in one["problems"])])


COMMAND = Command("Watch a table of your own, or list what is watched.", add_arguments, run)
