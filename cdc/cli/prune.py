"""`flagent-cdc prune`: deletes the oldest commits of the change log now, and sets what must be kept."""

import argparse
import asyncio
from collections.abc import Mapping

from cdc.cli.command import Command, Parser, database_url, settings_from
from cdc.database.database_url import read_database_url
from cdc.postgres.pruner import Pruner, Retention, keep_at_least


def add_arguments(parser: Parser) -> None:
    parser.add_setting("--database-url", "database.url")
    parser.add_setting("--older-than", "retention.max_age_s")
    parser.add_setting("--larger-than", "retention.max_bytes")
    parser.add_setting("--lanes-larger-than", "retention.lane_max_bytes")
    parser.add_value(
        "--keep-at-least",
        "AGE",
        None,
        "keep commits younger than this, whatever servers and this command are set to; needs the owner's rights",
    )


def run(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    settings = settings_from(arguments, environment)
    url = read_database_url(database_url(settings))
    if arguments.keep_at_least is not None:
        keep_at_least(url, arguments.keep_at_least)
        print("minimum age set; younger commits are kept")
    retention = Retention(settings.retention.max_age_s, settings.retention.max_bytes, settings.retention.lane_max_bytes)
    pruned = asyncio.run(Pruner(url, retention).prune())
    print(f"pruned {pruned.commits} commits with {pruned.changes} changes")
    if pruned.kept:
        print(
            f"about {pruned.kept} changes more than the limit on bytes stay: they are younger than the minimum age that"
            " the owner has set, which wins (flagent-cdc prune --keep-at-least)"
        )
    if pruned.is_busy:
        print("a server is pruning the change log at this moment and prunes the rest")
    return 0


COMMAND = Command(
    "Delete the oldest commits of the change log, by age and by size, as servers do by themselves.", add_arguments, run
)
