"""`flagent-cdc keys`: creates, lists and revokes API keys, and rotates the secret of stream tokens."""

import argparse
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from cdc.admin.api_keys import create_key, list_keys, revoke_key, rotate_secret
from cdc.auth.api_key import ApiKey
from cdc.cli.command import Command, Parser, database_url, settings_from
from cdc.core.errors import InvalidInput
from cdc.core.subscription.grant import Grant

MAX_NAME = 100


def add_arguments(parser: Parser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION", title="actions")
    create = actions.add_parser("create", help="create a key and print it, once", description=_CREATE)
    create.add_argument("name", help="what it is for")
    for option, metavar, what in (
        ("--flag", "KEY", "a flag's key, or a prefix with *: 'web-*'"),
        ("--tag", "TAG", "a tag; a flag needs at least one of the given tags"),
        ("--project", "ID", "a project"),
        ("--environment", "ID", "an environment; flags without one belong to all"),
        ("--table", "TABLE", "a watched table"),
        ("--in-schema", "SCHEMA", "a schema (a tenant)"),
    ):
        create.add_argument(option, metavar=metavar, action="append", help=what + "; repeatable")
    create.add_argument("--no-evaluate", action="store_true", help="allow reading, but not evaluation")
    create.add_argument("--admin", action="store_true", help="allow /metrics, /api/v1/status and the full /readyz")
    create.add_argument("--admin-only", action="store_true", help="allow these and nothing else, as a monitoring needs")
    create.add_argument("--expires-in", metavar="DAYS", type=_days, help="days until the key expires (default: never)")
    show = actions.add_parser("list", help="list all keys, without their secrets")
    revoke = actions.add_parser("revoke", help="revoke a key; its open streams close within seconds")
    revoke.add_argument("key", help="its id or its prefix, as `list` shows them")
    rotate = actions.add_parser(
        "rotate-secret", help="replace the secret that signs stream tokens", description=_ROTATE
    )
    for action in (create, show, revoke, rotate):
        assert isinstance(action, Parser)
        action.add_setting("--database-url", "database.url")


_CREATE = (
    "Create an API key. Options narrow its scope; without any, the key reads everything. A key with flags, tags, "
    "projects or environments reads no tables, and one with tables reads no flags, unless both are given."
)

_ROTATE = (
    "Replace the secret that signs stream tokens. Servers read the new one within a second and are not restarted. "
    "Tokens that were signed with the previous one stay valid for one minute at most."
)


def run(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    url = database_url(settings_from(arguments, environment))
    if arguments.action == "create":
        if not 0 < len(arguments.name) <= MAX_NAME:
            raise InvalidInput(f"the name must have 1 to {MAX_NAME} characters", name="name")
        days: float | None = arguments.expires_in
        print(create_key(url, arguments.name, _grant(arguments), None if days is None else _now() + timedelta(days)))
    elif arguments.action == "list":
        for line in _table(list_keys(url)):
            print(line)
    elif arguments.action == "rotate-secret":
        rotate_secret(url)
        print("the secret of stream tokens was replaced; the previous one stays valid for one minute")
    else:
        prefix, was_active = revoke_key(url, arguments.key)
        print(f"{prefix}: {'revoked; its open streams close within seconds' if was_active else 'already revoked'}")
    return 0


def _grant(arguments: argparse.Namespace) -> Grant:
    given: dict[str, Any] = {
        "flags": arguments.flag,
        "tags": arguments.tag,
        "schemas": arguments.in_schema,
        "projects": _numbers("--project", arguments.project),
        "environments": _numbers("--environment", arguments.environment),
        "tables": arguments.table,
    }
    scopes = {name: value for name, value in given.items() if value is not None}
    if arguments.admin_only:
        if scopes or arguments.no_evaluate:
            raise InvalidInput("--admin-only cannot be combined with what narrows reading", name="--admin-only")
        return Grant(flags=frozenset(), tables=frozenset(), evaluate=False, admin=True)
    return Grant.parse({**scopes, "evaluate": not arguments.no_evaluate, "admin": arguments.admin})


def _numbers(option: str, values: Sequence[str] | None) -> list[int] | None:
    if values is None:
        return None
    for value in values:
        if not (value.isascii() and value.isdigit() and len(value) < 19):
            raise InvalidInput(f"{option} must be a whole number; {value[:64]!r} is not", name=option)
    return [int(value) for value in values]


def _days(text: str) -> float:
    days = float(text) if text.replace(".", "", 1).isdigit() and text.isascii() else 0.0
    if not 0 < days <= 36_500:
        raise argparse.ArgumentTypeError(f"must be a number of days above 0; {text!r} is not")
    return days


def _now() -> datetime:
    return datetime.now(UTC)


def _table(keys: Sequence[ApiKey]) -> list[str]:
    rows = [("id", "key", "name", "state", "scopes")]
    rows += [(str(key.id), key.prefix + "…", key.name, _state(key), json.dumps(key.grant.to_json())) for key in keys]
    widths = [max(len(row[place]) for row in rows) for place in range(4)]
    return ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]) for row in rows]


def _state(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return f"revoked {key.revoked_at:%Y-%m-%d}"
    if key.expires_at is None:
        return "active"
    return f"{'expired' if key.expires_at <= _now() else 'until'} {key.expires_at:%Y-%m-%d}"


COMMAND = Command("Create, list and revoke API keys, and rotate the secret of stream tokens.", add_arguments, run)
