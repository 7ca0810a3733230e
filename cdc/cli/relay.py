"""`flagent-cdc relay`: copies the log to NATS JetStream, for nodes that are fed from there."""

import argparse
import asyncio
from collections.abc import Mapping

from cdc.cli.command import Command, Parser, database_url, settings_from
from cdc.core.errors import InvalidInput
from cdc.database.database_url import read_database_url
from cdc.observe import log_format as logs


def add_arguments(parser: Parser) -> None:
    parser.add_setting("--database-url", "database.url")
    parser.add_setting("--nats", "nats.url")
    parser.add_setting("--stream", "nats.stream")
    parser.add_setting("--replicas", "nats.replicas")
    parser.add_setting("--adopt", "nats.adopt")
    parser.add_setting("--log-level", "log.level")
    parser.add_setting("--log-format", "log.format")


def run(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Several may run: one is active, the others stand by. Ends with Ctrl-C or SIGTERM, which is no failure."""
    settings = settings_from(arguments, environment)
    url = read_database_url(database_url(settings))
    if settings.nats.url is None:
        raise InvalidInput("no NATS server was named: give --nats, or set FLAGENT_CDC_NATS_URL", name="--nats")
    # Slow to import, and what was typed wrong is told at once.
    from cdc.jetstream.address import NatsAddress
    from cdc.jetstream.relay import Relay

    address = NatsAddress.of(settings, settings.nats.url, name="FLAGENT_CDC_NATS_URL")
    logs.configure(settings.log.level, settings.log.format)

    async def work() -> None:
        await Relay(settings, url, address).run()

    try:
        asyncio.run(work())
    except KeyboardInterrupt:
        return 0
    return 1


COMMAND = Command("Copy the log to NATS JetStream, for servers that are fed from there.", add_arguments, run)
