"""`flagent-cdc torture`: a fault-injection test of writers, servers and subscribers, which checks the recorded run."""

import argparse
import asyncio
import contextlib
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from cdc.cli.command import Command, Parser, settings_from

# Violations that are printed; the rest is counted.
_MAX_SHOWN = 20


def add_arguments(parser: Parser) -> None:
    parser.add_setting("--database-url", "database.url")
    parser.add_value(
        "--writers-url", "DATABASE_URL", None, "another way to the same database for the writers, such as a pooler's"
    )
    parser.add_value("--duration", "DURATION", "1m", "how long writers write and faults are injected")
    parser.add_value("--every", "DURATION", "3s", "mean time between two faults")
    parser.add_value("--writers", "COUNT", "4", "number of concurrent writers")
    parser.add_value("--subscribers", "COUNT", "6", "number of subscribers, half on SSE and half on WebSocket")
    parser.add_argument("--seed", help="repeat the writes and the order of the faults of another run")


def run(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    settings = settings_from(arguments, environment)
    # Imported late: it is slow, and bad options are reported at once.
    from cdc.cli.torture.run import Plan, Torture, own_schema
    from cdc.database.database_url import read_database_url, redact
    from cdc.errors import InvalidInput

    writers_url = arguments.writers_url
    if writers_url is not None:
        if settings.database.url is None:
            raise InvalidInput(
                "--writers-url needs --database-url: it leads to the same database", name="--writers-url"
            )
        writers_url = read_database_url(writers_url, name="--writers-url")
    plan = Plan(
        seed=arguments.seed or str(time.time_ns() % 1_000_000),
        duration_s=arguments.duration,
        fault_every_s=arguments.every,
        writers=arguments.writers,
        subscribers=arguments.subscribers,
        writers_url=writers_url,
    )
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(_directory())
        postgres = None
        if settings.database.url is not None:
            url = read_database_url(settings.database.url)
            print(f"fault injection on {redact(url)}, in a new schema; seed {plan.seed}", flush=True)
        else:
            from cdc.cli.torture.port import lasting_port
            from cdc.embedded.server import EmbeddedPostgres

            postgres = stack.enter_context(EmbeddedPostgres(directory / "postgres", lasting_port()))
            url = postgres.url
            print(f"fault injection on an embedded PostgreSQL; seed {plan.seed}", flush=True)
        schema = stack.enter_context(own_schema(url))
        report = asyncio.run(Torture(url, schema, plan, directory, _report, postgres).run())
    for line in report.lines():
        print(line)
    if not report.violations:
        print(f"verdict: clean; seed {plan.seed}")
        return 0
    for text in report.violations[:_MAX_SHOWN]:
        print(f"  {text}")
    print(f"verdict: {len(report.violations)} violations; seed {plan.seed}")
    return 1


@contextlib.contextmanager
def _directory() -> Iterator[Path]:
    """For logs and data; the embedded server's account can access it."""
    with tempfile.TemporaryDirectory(prefix="flagent-cdc-torture-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory


def _report(line: str) -> None:
    print(f"  {line}", flush=True)


COMMAND = Command(
    "Fault-injection test: verify that nothing is lost, invented, repeated or reordered. Uses a new schema, which "
    "subscribers of the same database see while it runs.",
    add_arguments,
    run,
)
