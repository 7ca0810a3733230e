"""`flagent-cdc watch`: captures the changes of a table, and lists the watched tables."""

import argparse
import json
from collections.abc import Mapping
from typing import Any

from cdc.admin.watched_tables import OPERATIONS, ORDERS, WatchOptions, list_watched, watch
from cdc.cli.command import Command, Parser, database_url, settings_from
from cdc.core.errors import InvalidInput

_DESCRIPTION = (
    "Capture every change of a table, by any writer. Watching a table again changes the options to those given now. "
    "TABLE is written as in SQL: analytics.orders, or '\"Order Items\"'."
)

_OPTIONS = ("key", "include", "exclude", "mask", "predicate", "operations", "lane", "order")


def add_arguments(parser: Parser) -> None:
    parser.description = _DESCRIPTION
    parser.add_argument("table", nargs="?", metavar="TABLE", help="an ordinary or partitioned table")
    parser.add_argument("--list", action="store_true", help="show the watched tables, and problems with their capture")
    parser.add_argument("--json", action="store_true", help="as JSON, one table per line")
    key = parser.add_mutually_exclusive_group()
    key.add_argument(
        "--key", action="append", metavar="COLUMN", help="a column of the key (repeatable); else the table's own key"
    )
    key.add_argument("--no-key", action="store_const", dest="key", const=[], help="the whole row is the key")
    columns = parser.add_mutually_exclusive_group()
    columns.add_argument("--include", action="append", metavar="COLUMN", help="publish only this column (repeatable)")
    columns.add_argument("--exclude", action="append", metavar="COLUMN", help="do not publish this column (repeatable)")
    parser.add_argument("--mask", action="append", metavar="COLUMN", help="publish this column as null (repeatable)")
    parser.add_argument(
        "--where", dest="predicate", metavar="SQL", help="publish only rows that satisfy this, such as 'total > 100'"
    )
    parser.add_argument(
        "--operation",
        dest="operations",
        action="append",
        choices=OPERATIONS,
        help="capture only this operation (repeatable); by default all",
    )
    parser.add_argument(
        "--lane",
        metavar="NAME",
        help="the table's lane, a commit order of its own, so that flags do not wait for it; else that of the flags",
    )
    parser.add_argument(
        "--order",
        choices=ORDERS,
        help="when the lane gets its order: at commit, or when it is read, which costs writers least",
    )
    parser.add_setting("--database-url", "database.url")


def run(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    url = database_url(settings_from(arguments, environment))
    options = {name: value for name in _OPTIONS if (value := getattr(arguments, name)) is not None}
    if arguments.list:
        if arguments.table is not None or options:
            raise InvalidInput("--list shows all watched tables; it takes no TABLE and no other options", name="--list")
        for one in list_watched(url):
            print(json.dumps(one) if arguments.json else _line(one))
        return 0
    if arguments.table is None or arguments.json:
        raise InvalidInput("name a TABLE to watch, or give --list, with or without --json", name="TABLE")
    outcome = watch(url, arguments.table, WatchOptions(**options), print)
    print(f"{arguments.table}: {_OUTCOMES[outcome]}")
    return 0


_OUTCOMES = {
    "watched": "watched",
    "changed": "options updated",
    "unchanged": "already watched with these options",
}


def _line(one: Mapping[str, Any]) -> str:
    parts = [f"{one['schema']}.{one['table']}", "key " + (", ".join(one["key"]) or "the whole row")]
    if one["include"] is not None:
        parts.append("columns " + ", ".join(name for name in one["include"] if name not in one["mask"]))
    if one["mask"]:
        parts.append("masked " + ", ".join(one["mask"]))
    if one["predicate"] is not None:
        parts.append("where " + " ".join(one["predicate"].split()))
    if len(one["operations"]) < len(OPERATIONS):
        parts.append("only " + ", ".join(one["operations"]))
    if one["lane"] != "flags":
        parts.append(f"lane {one['lane']}, ordered {'at commit' if one['order'] == 'commit' else 'when read'}")
    return "\n".join(["; ".join(parts), *(f"  ! {problem}" for problem in one["problems"])])


COMMAND = Command("Watch a table, or list the watched tables.", add_arguments, run)
