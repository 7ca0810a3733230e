"""`flagent-cdc doctor`: checks for known problems and prints the fix for each."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path

from cdc.cli.command import Command, Parser, settings_from
from cdc.core.diagnosis import (
    Finding,
    Limits,
    State,
    check_database,
    check_machine,
    check_server,
    check_tier,
    exit_code,
)
from cdc.core.errors import InvalidInput
from cdc.errors import DatabaseError
from cdc.settings.settings import Settings

# Servers prune to the allowed size; PostgreSQL reuses the freed space, it does not return it.
_LOG_SLACK = 1.5

_COLOURS = {State.OK: "32", State.NOTE: "36", State.ERROR: "31;1", State.UNCHECKED: "33"}


def add_arguments(parser: Parser) -> None:
    parser.add_setting("--database-url", "database.url")
    parser.add_setting("--schema", "database.schemas", repeatable=True)
    parser.add_setting("--nats", "nats.url")
    parser.add_setting("--source", "nats.source")
    parser.add_setting("--nats-stream", "nats.stream")
    parser.add_argument("--role", help="the role that runs the server, if it is not the one that runs the doctor")
    parser.add_argument("--url", metavar="URL", help="also check the server at this address, through its proxies")
    parser.add_argument(
        "--credential-file", metavar="FILE", type=Path, help="file with an API key or a token for that server"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    parser.add_argument("--quiet", action="store_true", help="show problems only")
    parser.add_value("--longest-transaction", "DURATION", "5m", "maximum age of an open transaction")
    parser.add_value(
        "--largest-log",
        "SIZE",
        None,
        "maximum size of the change log on disk (default: 1.5 x FLAGENT_CDC_RETENTION_MAX_BYTES)",
    )
    parser.add_value("--keep-alive-timeout", "DURATION", "60s", "maximum wait for two keep-alives")


def run(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    settings = settings_from(arguments, environment)
    if not any((settings.database.url, arguments.url, settings.nats.url, settings.nats.source)):
        raise InvalidInput(
            "nothing to check: pass --database-url (or set FLAGENT_CDC_DATABASE_URL), --url, --nats or --source, "
            "or several of them",
            name="--database-url",
            code="missing_database_url",
        )
    largest = arguments.largest_log or int((settings.retention.max_bytes or Limits().log_bytes) * _LOG_SLACK)
    limits = Limits(
        transaction_s=arguments.longest_transaction,
        log_bytes=largest,
        lane_log_bytes=int((settings.retention.lane_max_bytes or Limits().lane_log_bytes) * _LOG_SLACK),
        log_age_s=settings.retention.max_age_s,
    )
    findings = list(_look(settings, arguments, limits))
    if arguments.json:
        shown = [dataclasses.asdict(finding) for finding in findings]
        print(json.dumps({"healthy": exit_code(findings) == 0, "findings": shown}, ensure_ascii=False, indent=2))
    else:
        colour = sys.stdout.isatty() and not environment.get("NO_COLOR")
        _show(findings, quiet=arguments.quiet, colour=colour)
    return exit_code(findings)


def _look(settings: Settings, arguments: argparse.Namespace, limits: Limits) -> Iterable[Finding]:
    # Imported late: it is slow, and bad options are reported at once.
    from cdc.doctor import (
        Target,
        read_database,
        read_keys,
        read_log_identity,
        read_machine,
        read_server,
        read_tier,
    )

    keys = identity = None
    if settings.database.url is not None:
        try:
            facts = read_database(settings.database.url, settings.database.schemas, arguments.role)
            keys, identity = read_keys(settings.database.url), read_log_identity(settings.database.url)
        except DatabaseError as error:
            yield Finding("database", State.UNCHECKED, str(error), "pg_isready --dbname …  # and the password, in psql")
        else:
            yield Finding("database", State.OK, f"{facts.target} answers")
            yield from check_database(facts, limits)
    if settings.nats.url is not None or settings.nats.source is not None:
        yield from check_tier(read_tier(settings, identity), limits)
    machine = read_machine(settings, is_exposed=not settings.listen.is_loopback, keys=keys)
    yield from check_machine(machine, limits)
    if arguments.url is not None:
        target = Target(
            arguments.url,
            _credential(arguments.credential_file),
            settings.sse.path if settings.sse.enabled else None,
            settings.websocket.path if settings.websocket.enabled else None,
            arguments.keep_alive_timeout,
        )
        if sys.stderr.isatty():
            print(f"waiting for keep-alives of {target.url}, for up to a minute", file=sys.stderr)
        yield from check_server(read_server(target, version("flagent-cdc"), identity), limits)


def _credential(file: Path | None) -> str | None:
    """From a file, because every user of the machine can see a command line."""
    if file is None:
        return None
    try:
        text = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file} cannot be read: {error}", name="--credential-file") from error
    if not text or not text.isascii() or any(char.isspace() for char in text):
        raise InvalidInput(f"{file} must contain one credential and nothing else", name="--credential-file")
    return text


def _show(findings: Iterable[Finding], *, quiet: bool, colour: bool) -> None:
    for finding in findings:
        if quiet and finding.state is State.OK:
            continue
        state = f"{finding.state:<9}"
        if colour:
            state = f"\x1b[{_COLOURS[finding.state]}m{state}\x1b[0m"
        print(f"{state} {finding.check:<24} {finding.text}")
        if finding.remedy is not None:
            print(f"{'':<9} {'':<24} → {finding.remedy}")


COMMAND = Command("Check for known problems and print the fix for each.", add_arguments, run)
