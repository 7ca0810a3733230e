"""`flagent-cdc migrate`: installs capture and change log into an existing database, or upgrades them."""

import argparse
from collections.abc import Mapping

from cdc.admin.installation import downgrade, migrate, require_schemas
from cdc.cli.command import Command, Parser, database_url, settings_from


def add_arguments(parser: Parser) -> None:
    parser.add_setting("--database-url", "database.url")
    parser.add_setting("--schema", "database.schemas", repeatable=True)
    parser.add_argument(
        "--grant-to", metavar="ROLE", help="allow this role to run a server: to listen and to read, nothing else"
    )
    parser.add_argument(
        "--repair", action="store_true", help="create every function and trigger again, in case one was changed by hand"
    )
    parser.add_argument(
        "--to", metavar="REVISION", help="downgrade the tables to this revision, before an older version is installed"
    )


def run(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    settings = settings_from(arguments, environment)
    if arguments.to is not None:
        downgrade(database_url(settings), arguments.to, report=print)
        return 0
    require_schemas(database_url(settings), settings.database.schemas)
    migrate(
        database_url(settings),
        settings.database.schemas,
        grant_to=arguments.grant_to,
        report=print,
        repair=arguments.repair,
    )
    return 0


COMMAND = Command("Install into a database with Flagent's tables, or upgrade; safe to repeat.", add_arguments, run)
