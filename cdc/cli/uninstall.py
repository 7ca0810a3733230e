"""`flagent-cdc uninstall`: removes everything from a database."""

import argparse
from collections.abc import Mapping

from cdc.admin.installation import uninstall
from cdc.cli.command import Command, Parser, database_url, settings_from


def add_arguments(parser: Parser) -> None:
    parser.add_setting("--database-url", "database.url")


def run(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    uninstall(database_url(settings_from(arguments, environment)), report=print)
    return 0


COMMAND = Command("Remove triggers, functions and the change log from a database.", add_arguments, run)
