"""`flagent-cdc serve`: runs the server on a given database, on NATS, or on an embedded PostgreSQL."""

import argparse
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from cdc.cli.banner import Banner
from cdc.cli.command import Command, Parser, settings_from
from cdc.core.errors import FlagentCdcError, InvalidInput
from cdc.database.database_url import read_database_url, redact
from cdc.observe import log_format as logs
from cdc.settings.settings import Settings

if TYPE_CHECKING:
    from api.routes.demo_switch import Switch


def add_arguments(parser: Parser) -> None:
    add_server_arguments(parser)
    parser.add_setting("--source", "nats.source")
    parser.add_setting("--workers", "listen.workers")
    parser.add_argument(
        "--no-wait",
        action="store_true",
        help="exit with 2 if the database cannot be used at the start, instead of waiting for it",
    )


def add_server_arguments(parser: Parser) -> None:
    """The options of every command that runs the server: `serve` and `demo`."""
    parser.add_setting("--host", "listen.host")
    parser.add_setting("--port", "listen.port")
    parser.add_setting("--database-url", "database.url")
    parser.add_setting("--data-dir", "database.data_dir")
    parser.add_setting("--schema", "database.schemas", repeatable=True)
    parser.add_setting("--log-level", "log.level")
    parser.add_setting("--log-format", "log.format")
    parser.add_argument("--open", action="store_true", help="open the page in a browser as soon as the server is ready")
    parser.add_argument(
        "--insecure",
        dest="setting:listen.insecure",
        action="store_true",
        default=None,
        help="allow an address that other machines can reach, without authentication (FLAGENT_CDC_INSECURE)",
    )


def run(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    settings = ready_to_listen(settings_from(arguments, environment))
    # Imported late: it is slow, and bad options are reported at once.
    if settings.nats.source is not None:
        from cdc.jetstream.address import NatsAddress

        address = NatsAddress.of(settings, settings.nats.source, name="FLAGENT_CDC_SOURCE")
        return serve(settings, Banner(settings, str(address), kind="source", opens_page=arguments.open).show)
    from cdc.cli.own_database import own_database
    from cdc.embedded.server import default_data_dir

    if settings.database.url is not None:
        conninfo = read_database_url(settings.database.url)
        if arguments.no_wait:
            require_database(conninfo)
        elif settings.log.format == "text":
            # Beside the start, which must not wait for a host that does not answer.
            threading.Thread(target=_say_what_is_awaited, args=(conninfo,), daemon=True).start()
        return serve(settings, Banner(settings, redact(conninfo), opens_page=arguments.open).show)
    data_dir = settings.database.data_dir or default_data_dir(environment)
    with own_database(data_dir, settings.database.schemas) as url:
        banner = Banner(settings, f"embedded PostgreSQL, data in {data_dir}", url, opens_page=arguments.open)
        return serve(settings.with_values({"database.url": url}), banner.show)


def require_database(conninfo: str) -> None:
    """Raise `DatabaseError` if the database cannot be reached, or rejects the login."""
    import psycopg

    from cdc.database.connection import LIVENESS
    from cdc.database.driver_errors import driver_errors

    with driver_errors(redact(conninfo)):
        psycopg.connect(conninfo, application_name="flagent-cdc start", **LIVENESS).close()


def _say_what_is_awaited(conninfo: str) -> None:
    try:
        require_database(conninfo)
    except FlagentCdcError as error:
        print(
            f"flagent-cdc: {error}; waiting until the database can be used (Ctrl-C ends that, and so does --no-wait)",
            file=sys.stderr,
            flush=True,
        )


def serve(settings: Settings, on_ready: Callable[[], None], switch: "Switch | None" = None) -> int:
    """Run the server until Ctrl-C or SIGTERM; both end it with exit code 0. `switch` lets the page change flags."""
    from cdc.cli.server import run_server

    logs.configure(settings.log.level, settings.log.format)
    try:
        return run_server(settings, on_ready=on_ready, switch=switch)
    except KeyboardInterrupt:
        return 0


def ready_to_listen(settings: Settings) -> Settings:
    """The settings with a real port; rejects an address that other machines can reach while authentication is off."""
    if not settings.auth.is_required and not settings.listen.insecure and not settings.listen.is_loopback:
        raise InvalidInput(
            f"{settings.listen.host!r} can be reached from other machines, and authentication is off: anyone there "
            "could read every flag. Set FLAGENT_CDC_AUTH_ENABLED=true, listen on 127.0.0.1 behind a proxy, or pass "
            "--insecure",
            name="FLAGENT_CDC_HOST",
            code="exposed_host",
        )
    return settings.with_values({"listen.port": _free_port(settings.listen.host, settings.listen.port)})


def _free_port(host: str, port: int) -> int:
    """The port if it is free, or a free one for 0: all workers and the banner use the same one.

    Checked before anything starts, because the server itself binds last.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As servers do: connections that were just closed here do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return int(probe.getsockname()[1])
    except OSError as error:
        raise InvalidInput(
            f"cannot listen on {host}, port {port}: {error.strerror or error}; choose another with --host and --port",
            name="FLAGENT_WS_PORT",
            code="cannot_listen",
        ) from error


COMMAND = Command(
    "Run the server on a database, on NATS, or on an embedded PostgreSQL if none is given.", add_arguments, run
)
