"""`flagent-cdc demo`: an embedded PostgreSQL with flags, a writer that changes them, and the server on it."""

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from cdc.admin.installation import migrate
from cdc.cli.banner import Banner
from cdc.cli.command import Command, Parser, settings_from
from cdc.cli.fixed_head import FixedHead
from cdc.cli.serve import add_server_arguments, ready_to_listen, serve
from cdc.core.errors import InvalidInput
from cdc.database.database_url import read_database_url, redact
from cdc.demo.flag_switch import FlagSwitch
from cdc.demo.flags import FLAGS
from cdc.demo.writer import Writer
from cdc.demo.writer_loop import WriterLoop
from cdc.settings.sections import FLAGENT_DATABASE
from cdc.settings.settings import Settings

# What names a source of events elsewhere: the demo has its own database, unless an option says otherwise.
_SOURCES = ("FLAGENT_CDC_DATABASE_URL", FLAGENT_DATABASE, "FLAGENT_CDC_SOURCE", "FLAGENT_CDC_DATA_DIR")


def add_arguments(parser: Parser) -> None:
    add_server_arguments(parser)
    parser.add_value("--interval", "DURATION", "1s", "time between two changes")
    parser.add_argument(
        "--seed",
        type=int,
        default=1,
        help="seed of the writer; the same seed makes the same changes (default: %(default)s)",
    )
    parser.add_argument("--yes", action="store_true", help="with --database-url: write into that database unasked")


def run(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    own = {name: value for name, value in environment.items() if name not in _SOURCES}
    settings = settings_from(arguments, own)
    if "FLAGENT_CDC_LOG_LEVEL" not in own and getattr(arguments, "setting:log.level") is None:
        # The demo shows its changes; lines about the life cycle would only interrupt them.
        settings = settings.with_values({"log.level": "warning"})
    for name in sorted(environment.keys() & set(_SOURCES)):
        if environment[name].strip() and settings.database.url is None:
            print(f"flagent-cdc: the demo ignores {name} and uses a database of its own", file=sys.stderr)
    if settings.database.url is None:
        return _run_on_own(settings, arguments)
    settings = ready_to_listen(settings)
    target = redact(read_database_url(settings.database.url or ""))
    _require_consent(target, arguments)
    url = settings.database.url or ""
    installed = migrate(url, settings.database.schemas)
    if settings.database.schemas[0] in installed.pending:
        raise InvalidInput(
            f"schema {settings.database.schemas[0]!r} has none of Flagent's tables yet: start Flagent on that "
            "database first, or run the demo on its embedded database, without --database-url",
            name="--schema",
            code="no_flagent_tables",
        )
    return _serve(settings, url, Banner(settings, target, opens_page=arguments.open), arguments)


def _run_on_own(settings: Settings, arguments: argparse.Namespace) -> int:
    """On an embedded database. Its example flags are no secret, so other machines may connect if the host allows it."""
    from cdc.cli.own_database import own_database

    settings = ready_to_listen(settings.with_values({"listen.insecure": True}))
    with _data_dir(settings) as data_dir, own_database(data_dir, settings.database.schemas) as url:
        change = "open a flag on the page, and switch it on or off" if settings.web.page_enabled else None
        banner = Banner(settings, f"embedded PostgreSQL, data in {data_dir}", url, change, opens_page=arguments.open)
        switch = FlagSwitch(url, settings.database.schemas[0])
        return _serve(settings.with_values({"database.url": url}), url, banner, arguments, switch)


def _require_consent(target: str, arguments: argparse.Namespace) -> None:
    """Raise `InvalidInput` unless the user agrees that the demo writes into this database."""
    if arguments.yes:
        return
    text = f"the demo writes {len(FLAGS)} example flags into {target} and keeps changing them"
    if not sys.stdin.isatty():
        raise InvalidInput(f"{text}; pass --yes to allow that", name="--yes", code="not_agreed")
    print(f"flagent-cdc: {text}.", file=sys.stderr)
    if input("Continue? [y/N] ").strip().lower() not in ("y", "yes"):
        raise InvalidInput("nothing was written", name="--yes", code="not_agreed")


@contextlib.contextmanager
def _data_dir(settings: Settings) -> Iterator[Path]:
    """A new directory at every start, so that a seed determines everything; a given directory keeps its data."""
    if settings.database.data_dir is not None:
        yield settings.database.data_dir
        return
    with tempfile.TemporaryDirectory(prefix="flagent-cdc-demo-") as directory:
        yield Path(directory)


def _serve(
    settings: Settings,
    url: str,
    banner: Banner,
    arguments: argparse.Namespace,
    switch: FlagSwitch | None = None,
) -> int:
    seed, schema = arguments.seed, settings.database.schemas[0]
    with Writer(url, seed=seed, schema=schema) as writer:
        created = writer.fill()
    loop = WriterLoop(url, seed=seed, schema=schema, interval_s=arguments.interval, report=_report)
    head = FixedHead(sys.stdout)

    def on_ready() -> None:
        head.show([*banner.lines(), f"  {created} flags were created; a writer changes one at a time:"])
        banner.open_page()
        loop.start()

    try:
        return serve(settings, on_ready, switch)
    finally:
        loop.stop()
        head.release()


def _report(line: str) -> None:
    print(f"  writer  {line}", flush=True)


COMMAND = Command(
    "Run the server on an embedded PostgreSQL with about thirty flags that change every second.", add_arguments, run
)
