"""`flagent-cdc demo`: an embedded PostgreSQL with flags, a writer that changes them, and the server on it."""

import argparse
import contextlib
import dataclasses
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

from cdc.cli.banner import Banner
from cdc.cli.command import Command, Parser, settings_from
from cdc.cli.serve import add_server_arguments, ready_to_listen
from cdc.database_url import read_database_url, redact
from cdc.demo import Writer
from cdc.errors import FlagentCdcError, is_retryable
from cdc.forms import DURATION
from cdc.settings import Settings

CHANGE = "update flags set enabled = not enabled where key = 'new_payment_flow'"
RECONNECT_S = 2.0


def add_arguments(parser: Parser) -> None:
    add_server_arguments(parser)
    parser.add_form("--interval", DURATION, "1s", "time between two changes")
    parser.add_argument("--seed", type=int, default=1, help="the same seed does the same (default: %(default)s)")


def run(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    settings = ready_to_listen(settings_from(arguments, environment))
    with contextlib.ExitStack() as stack:
        if settings.database_url is not None:
            return _serve(settings, arguments, redact(read_database_url(settings.database_url)), None)
        # Fresh at every start, so that a seed tells the whole story; --data-dir keeps what happened.
        kept = getattr(arguments, "setting:data_dir") is not None or "FLAGENT_CDC_DATA_DIR" in environment
        directory = (
            settings.data_dir
            if kept
            else Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="flagent-cdc-demo-")))
        )
        from cdc.embedded import EmbeddedPostgres

        postgres = stack.enter_context(EmbeddedPostgres(directory))
        settings = dataclasses.replace(settings, database_url=postgres.url)
        return _serve(settings, arguments, f"embedded PostgreSQL, data in {directory}", postgres.url)


def _serve(settings: Settings, arguments: argparse.Namespace, database: str, psql: str | None) -> int:
    from cdc.cli.server import run_server
    from cdc.install import migrate

    assert settings.database_url is not None
    url, schema = settings.database_url, settings.schemas[0]
    migrate(url, settings.schemas)
    with Writer(url, seed=arguments.seed, schema=schema) as writer:
        created = writer.fill()
    banner = Banner(settings, database, psql, CHANGE)
    stopped = threading.Event()

    def write() -> None:
        seed = arguments.seed
        while not stopped.is_set():
            try:
                with Writer(url, seed=seed, schema=schema) as writer:
                    while not stopped.wait(arguments.interval):
                        print(f"  {writer.step()}", flush=True)
            except FlagentCdcError as error:
                if stopped.is_set():
                    return
                print(f"  the writer stopped: {error}", flush=True)
                if not is_retryable(error):
                    return
                # Another seed, or it would repeat its first deeds on a state that has them already.
                seed += 1
                stopped.wait(RECONNECT_S)

    thread = threading.Thread(target=write, name="demo writer", daemon=True)

    def on_ready() -> None:
        banner.show()
        print(f"{created} flags were created; this is what the writer does to them:\n", flush=True)
        thread.start()

    try:
        return run_server(settings, on_ready=on_ready)
    finally:
        stopped.set()
        if thread.ident is not None:
            thread.join(timeout=5)


COMMAND = Command("Serve an embedded PostgreSQL with some thirty flags that change every second.", add_arguments, run)
