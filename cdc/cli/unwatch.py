"""`flagent-cdc unwatch`: stops capturing a table."""

import argparse
from collections.abc import Mapping

from cdc.admin.watched_tables import unwatch
from cdc.cli.command import Command, Parser, database_url, settings_from


def add_arguments(parser: Parser) -> None:
    parser.add_argument("table", metavar="TABLE", help="the name as in SQL; the table may be dropped already")
    parser.add_setting("--database-url", "database.url")


def run(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    outcome = unwatch(database_url(settings_from(arguments, environment)), arguments.table, print)
    print(f"{arguments.table}: {'no longer watched' if outcome == 'unwatched' else 'not watched, nothing to do'}")
    return 0


COMMAND = Command("Stop capturing a table; the change log keeps its past changes.", add_arguments, run)
