"""`flagent-cdc unwatch`: captures the changes of a data team's table no longer."""

import argparse
from collections.abc import Mapping

from cdc.admin.watched_tables import unwatch
from cdc.cli.command import Command, Parser, database_url, settings_from


def add_arguments(parser: Parser) -> None:
    parser.add_argument("table", metavar="TABLE", help="written as in SQL; it may be gone already")
    parser.add_setting("--database-url", "database.url")


def run(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    outcome = unwatch(database_url(settings_from(arguments, environment)), arguments.table, print)
    print(f"{arguments.table}: {'is no longer watched' if outcome == 'unwatched' else 'is not watched, nothing to do'}")
    return 0


COMMAND = Command("Watch a table no longer; what the log holds stays.", add_arguments, run)
