"""`flagent-cdc relay`: copies the change log to NATS JetStream, for nodes that read from there."""

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
    parser.add_setting("--nats-stream", "nats.stream")
    parser.add_setting("--replicas", "nats.replicas")
    parser.add_setting("--adopt", "nats.adopt")
    parser.add_setting("--log-level", "log.level")
    parser.add_setting("--log-format", "log.format")


def run(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Several relays may run: one is active, the others stand by. Ctrl-C and SIGTERM end it with exit code 0."""
    settings = settings_from(arguments, environment)
    url = read_database_url(database_url(settings))
    if settings.nats.url is None:
        raise InvalidInput("no NATS server: pass --nats, or set FLAGENT_CDC_NATS_URL", name="--nats")
    # Imported late: it is slow, and bad options are reported at once.
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


COMMAND = Command("Copy the change log to NATS JetStream, for servers that read from there.", add_arguments, run)
