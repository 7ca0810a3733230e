"""`flagent-cdc demo`: an embedded PostgreSQL with flags, a writer that changes them, and the server on it."""

import argparse
import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from cdc.admin.installation import migrate
from cdc.cli.banner import Banner
from cdc.cli.command import Command, Parser, settings_from
from cdc.cli.serve import add_server_arguments, ready_to_listen, serve
from cdc.core.errors import InvalidInput
from cdc.database.database_url import read_database_url, redact
from cdc.demo.writer import Writer
from cdc.demo.writer_loop import WriterLoop
from cdc.settings.settings import Settings
from cdc.settings.value_formats import DURATION

CHANGE = "update flags set enabled = not enabled where key = 'new_payment_flow'"


def add_arguments(parser: Parser) -> None:
    add_server_arguments(parser)
    parser.add_value("--interval", DURATION, "1s", "time between two changes")
    parser.add_argument(
        "--seed",
        type=int,
        default=1,
        help="seed of the writer; the same seed makes the same changes (default: %(default)s)",
    )


def run(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    settings = ready_to_listen(settings_from(arguments, environment))
    if settings.database.url is not None:
        installed = migrate(settings.database.url, settings.database.schemas)
        if settings.database.schemas[0] in installed.pending:
            raise InvalidInput(
                f"schema {settings.database.schemas[0]!r} has none of Flagent's tables yet: start Flagent on that "
                "database first, or run the demo on its embedded database, without --database-url",
                name="--schema",
                code="no_flagent_tables",
            )
        banner = Banner(settings, redact(read_database_url(settings.database.url)), change=CHANGE)
        return _serve(settings, settings.database.url, banner, arguments)

    # Imported late: not needed for another database.
    from cdc.cli.own_database import own_database

    with _data_dir(settings) as data_dir, own_database(data_dir, settings.database.schemas) as url:
        banner = Banner(settings, f"embedded PostgreSQL, data in {data_dir}", url, CHANGE)
        return _serve(settings.with_values({"database.url": url}), url, banner, arguments)


@contextlib.contextmanager
def _data_dir(settings: Settings) -> Iterator[Path]:
    """A new directory at every start, so that a seed determines everything; a given directory keeps its data."""
    if settings.database.data_dir is not None:
        yield settings.database.data_dir
        return
    with tempfile.TemporaryDirectory(prefix="flagent-cdc-demo-") as directory:
        yield Path(directory)


def _serve(settings: Settings, url: str, banner: Banner, arguments: argparse.Namespace) -> int:
    seed, schema = arguments.seed, settings.database.schemas[0]
    with Writer(url, seed=seed, schema=schema) as writer:
        created = writer.fill()
    loop = WriterLoop(url, seed=seed, schema=schema, interval_s=arguments.interval, report=_report)

    def on_ready() -> None:
        banner.show()
        _report(f"{created} flags were created; changes follow:")
        loop.start()

    try:
        return serve(settings, on_ready)
    finally:
        loop.stop()


def _report(line: str) -> None:
    print(f"  writer  {line}", flush=True)


COMMAND = Command(
    "Run the server on an embedded PostgreSQL with about thirty flags that change every second.", add_arguments, run
)
