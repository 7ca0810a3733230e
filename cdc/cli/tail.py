"""`flagent-cdc tail`: shows a server's stream, for people or (`--json`) for pipes."""

import argparse
from collections.abc import Mapping

from cdc.cli.command import Command, Parser

STREAM_PATH = "/api/v1/events/stream"

# As `EventType` lists them, which takes longer to import than all of `--help`.
EVENT_TYPES = (
    "flag_created", "flag_updated", "flag_enabled", "flag_disabled", "flag_deleted", "segment_updated",
    "distribution_updated", "variant_updated", "row_inserted", "row_updated", "row_deleted", "table_truncated",
    "schema_changed",
)  # fmt: skip


def add_arguments(parser: Parser) -> None:
    parser.add_argument("url", nargs="?", default="http://127.0.0.1:8080", help="the server (default: %(default)s)")
    parser.add_argument("--path", default=STREAM_PATH, help="the stream's path there (default: %(default)s)")
    filters = parser.add_argument_group("filters; several add up, none means everything")
    filters.add_argument("--flag", action="append", default=[], metavar="KEY", help="this flag (repeatable)")
    filters.add_argument(
        "--flag-id", action="append", default=[], type=int, metavar="ID", help="this flag (repeatable)"
    )
    filters.add_argument("--tag", action="append", default=[], help="flags with this tag (repeatable)")
    filters.add_argument("--segments", action="store_true", help="everything about segments and distributions")
    filters.add_argument("--table", action="append", default=[], help="rows of this watched table (repeatable)")
    filters.add_argument(
        "--type",
        action="append",
        default=[],
        choices=EVENT_TYPES,
        metavar="TYPE",
        help="only this type (repeatable): %(choices)s",
    )
    filters.add_argument("--schema", action="append", default=[], help="only this schema (repeatable)")
    parser.add_argument("--snapshot", action="store_true", help="show the present flags first, then changes")
    parser.add_argument("--last-event-id", metavar="ID", help="resume after this event")
    parser.add_argument(
        "--json", action="store_true", help="one JSON object per line: every event, snapshot and resync"
    )
    parser.add_argument("--no-color", action="store_true", help="no colours; also with NO_COLOR set, and in a pipe")
    parser.add_argument("--once", action="store_true", help="exit when the connection ends instead of reconnecting")
    parser.add_value("--count", "COUNT", None, "exit after this number of events")


def run(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    from cdc.cli.tail_stream import follow

    return follow(arguments, environment)


COMMAND = Command("Show the stream of a server, live.", add_arguments, run)
