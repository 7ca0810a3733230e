"""`flagent-cdc keys`: creates, lists and revokes API keys, shows their audit log, rotates the secret of tokens."""

import argparse
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from cdc.admin.api_keys import (
    AuditEntry,
    KeyUsage,
    create_key,
    list_usage,
    read_audit,
    revoke_key,
    rotate_secret,
)
from cdc.auth.api_key import ApiKey
from cdc.cli.command import Command, Parser, database_url, settings_from
from cdc.core.errors import InvalidInput
from cdc.core.subscription.grant import Grant
from cdc.filters.compiler import check_rules_of_key

MAX_NAME = 100

DEFAULT_DAYS = 365.0

# The audit log holds 11 000 entries at most.
_MAX_ENTRIES = 11_000


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
    create.add_argument(
        "--rows",
        metavar="JSON",
        help='which rows and columns of tables: \'{"shop.orders": {"where": "tenant_id = 7", "columns": ["id"]}}\'; '
        "without --table, these tables alone",
    )
    create.add_argument("--no-evaluate", action="store_true", help="allow reading, but not evaluation")
    create.add_argument("--admin", action="store_true", help="allow /metrics, /api/v1/status and the full /readyz")
    create.add_argument("--expose", action="store_true", help="allow reporting how often variants are used")
    create.add_argument("--admin-only", action="store_true", help="allow these and nothing else, as a monitoring needs")
    expiry = create.add_mutually_exclusive_group()
    expiry.add_argument(
        "--expires-in",
        metavar="DAYS",
        type=_days,
        default=DEFAULT_DAYS,
        help=f"days until the key expires (default: {DEFAULT_DAYS:.0f})",
    )
    expiry.add_argument("--never-expires", action="store_true", help="let the key be valid until it is revoked")
    show = actions.add_parser("list", help="list all keys with their expiry and last use, without their secrets")
    revoke = actions.add_parser("revoke", help="revoke a key; its open streams close within seconds")
    revoke.add_argument("key", help="its id or its prefix, as `list` shows them")
    audit = actions.add_parser(
        "audit", help="show who created, changed or revoked keys, and which were refused", description=_AUDIT
    )
    audit.add_argument("--last", metavar="N", type=_count, default=100, help="the number of entries (default: 100)")
    rotate = actions.add_parser(
        "rotate-secret", help="replace the secret that signs stream tokens", description=_ROTATE
    )
    for action in (create, show, revoke, audit, rotate):
        assert isinstance(action, Parser)
        action.add_setting("--database-url", "database.url")


_CREATE = (
    "Create an API key. Options narrow its scope; without any, the key reads everything. A key with flags, tags, "
    "projects or environments reads no tables, and one with tables reads no flags, unless both are given. It expires "
    "after a year unless an option says otherwise."
)

_AUDIT = (
    "Show the newest entries of the audit log, the oldest of them first: keys that were created, changed, revoked, "
    "used for the first time or refused, and rotations of the secret of stream tokens. Servers record uses and "
    "refusals within a minute."
)

_ROTATE = (
    "Replace the secret that signs stream tokens. Servers read the new one within a second and are not restarted. "
    "Tokens that were signed with the previous one stay valid for one minute at most."
)


def run(arguments: argparse.Namespace, environment: Mapping[str, str]) -> int:
    url = database_url(settings_from(arguments, environment))
    match arguments.action:
        case "create":
            if not 0 < len(arguments.name) <= MAX_NAME:
                raise InvalidInput(f"the name must have 1 to {MAX_NAME} characters", name="name")
            expires_at = None if arguments.never_expires else _now() + timedelta(arguments.expires_in)
            print(create_key(url, arguments.name, _grant(arguments), expires_at))
        case "list":
            for line in _aligned(_HEAD_OF_LIST, [_row(usage) for usage in list_usage(url)]):
                print(line)
        case "revoke":
            prefix, was_active = revoke_key(url, arguments.key)
            outcome = "revoked; its open streams close within seconds" if was_active else "already revoked"
            print(f"{prefix}: {outcome}")
        case "audit":
            for line in _aligned(_HEAD_OF_AUDIT, [_entry(entry) for entry in read_audit(url, arguments.last)]):
                print(line)
        case "rotate-secret":
            rotate_secret(url)
            print("the secret of stream tokens was replaced; the previous one stays valid for one minute")
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
    if arguments.rows is not None:
        scopes["rows"] = _rows(arguments.rows)
    switches = {"evaluate": not arguments.no_evaluate, "admin": arguments.admin, "expose": arguments.expose}
    grant = Grant.parse({**scopes, **switches})
    check_rules_of_key(grant)
    return grant


def _rows(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"--rows is not valid JSON: {error}", name="--rows") from error


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


def _count(text: str) -> int:
    count = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
    if not 0 < count <= _MAX_ENTRIES:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {_MAX_ENTRIES}; {text!r} is not")
    return count


def _now() -> datetime:
    return datetime.now(UTC)


_HEAD_OF_LIST = ("id", "key", "name", "state", "expires", "last used", "scopes")
_HEAD_OF_AUDIT = ("time", "what", "key", "name", "by", "reason")


def _aligned(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows as a table; the last column is not padded."""
    widths = [max(len(row[place]) for row in (head, *rows)) for place in range(len(head) - 1)]
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip()
        for row in (head, *rows)
    ]


def _row(usage: KeyUsage) -> tuple[str, ...]:
    key = usage.key
    expires = "never" if key.expires_at is None else f"{key.expires_at:%Y-%m-%d}"
    used = _time(usage.last_used_at) if usage.last_used_at is not None else f"not since {usage.recorded_since:%Y-%m-%d}"
    scopes = json.dumps(key.grant.to_json(), ensure_ascii=False)
    return str(key.id), key.prefix + "…", _printable(key.name), _state(key), expires, used, scopes


def _state(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return f"revoked {key.revoked_at:%Y-%m-%d}"
    return "active" if key.expires_at is None or key.expires_at > _now() else "expired"


def _entry(entry: AuditEntry) -> tuple[str, ...]:
    reason = entry.reason or ""
    if entry.count > 1:
        reason = f"{reason} ({entry.count} times)"
    key = "" if entry.prefix is None else entry.prefix + "…"
    return _time(entry.happened_at), entry.action, key, _printable(entry.name or ""), entry.actor, reason


def _time(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"


def _printable(text: str) -> str:
    """A name in one line, without what a terminal would obey."""
    return "".join(character if character.isprintable() else "�" for character in text)


COMMAND = Command("Create, list and revoke API keys, and read their audit log.", add_arguments, run)
