"""Facts about a database. What the role may not read is None, and the diagnosis reports that."""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

import psycopg
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg import sql as composed
from psycopg.conninfo import conninfo_to_dict

import sql

from ..core.diagnosis import (
    DatabaseFacts,
    Function,
    InstallationFacts,
    KeyFacts,
    LogFacts,
    Prepared,
    RoleFacts,
    Session,
    Trigger,
    function_in,
)
from ..core.errors import InvalidInput
from ..core.flags.flag_tables import TABLES
from ..core.subscription.grant import Grant
from ..database.database_url import read_database_url, redact
from ..database.driver_errors import driver_errors
from ..database.lock_retry import set_own_settings
from ..database.queries import objects, query
from ..database.session_settings import CLIENT_ENCODING, session_statements

__all__ = ["LogIdentity", "read_database", "read_keys", "read_log_identity"]

# The tables in schema flagent_cdc that a server reads; `grant_runtime` grants them.
RUNTIME_TABLES = (
    "installation",
    "attachment",
    "change_log",
    "commit_log",
    "alembic_version",
    "api_key",
    "api_key_use",
    "exposure",
    "stream_token_secret",
    "watched_table",
    "retention",
    "lane",
    "lane_change_log",
    "lane_commit_log",
    "read_order_log",
)
_RUNTIME_FUNCTIONS = (
    "log_identity",
    "watched",
    "prune",
    "prune_lanes",
    "prune_lane",
    "record_key_use",
    "record_exposures",
)


_CONNECT_S = 5

_DAY = timedelta(days=1)

# A query that takes longer is too expensive to run.
_STATEMENT_MS = 5_000

_NOTIFICATION_S = 2.0

Connection = psycopg.Connection[Any]


def read_database(url: str, schemas: Sequence[str], role: str | None = None) -> DatabaseFacts:
    """The facts about a database and its installation; `role` is the role that serves, by default that of the URL.

    Raises `DatabaseError` if the database does not answer, `InvalidInput` for an unknown role.
    """
    conninfo = read_database_url(url)
    with _connected(conninfo) as connection:
        (is_standby, encoding, queue, used, most, own_role, sees_sessions, is_installed) = _row(
            connection, "doctor_server"
        )
        serving = own_role if role is None else role
        if not _row(connection, "doctor_role_exists", role=serving)[0]:
            raise InvalidInput(f"role {serving!r} does not exist in the database", name="--role", code="unknown_role")
        is_pooled = _row(connection, "backend_pid")[0] != connection.info.backend_pid
        installation = _installation(connection, schemas) if is_installed else None
        return DatabaseFacts(
            target=redact(conninfo),
            server_version=connection.info.server_version,
            is_standby=is_standby,
            is_local=_is_local(conninfo, connection),
            uses_tls=connection.pgconn.ssl_in_use,
            encoding=encoding,
            is_pooled=is_pooled,
            receives_notifications=not is_standby and _receives_notifications(conninfo),
            clock_ahead_s=_clock_ahead(connection),
            queue_share=queue,
            connections=used,
            max_connections=most,
            settings=dict(_rows(connection, "doctor_settings")),
            role_settings=tuple(_rows(connection, "doctor_replication_role")),
            role=_role(connection, serving, installation, sees_sessions),
            sessions=tuple(Session(*row) for row in _rows(connection, "doctor_sessions")),
            prepared=tuple(Prepared(*row) for row in _rows(connection, "doctor_prepared")),
            event_triggers=tuple(name for (name,) in _rows(connection, "doctor_event_triggers")),
            installation=installation,
        )


@dataclass(frozen=True, slots=True)
class LogIdentity:
    """The id of a change log, and its newest position."""

    log: str
    newest: int


def read_log_identity(url: str) -> LogIdentity | None:
    """The identity of the change log of a database; None if the role may not read it."""
    with _connected(read_database_url(url)) as connection:
        rows = _allowed(connection, "doctor_identity")
        return LogIdentity(*rows[0]) if rows else None


def read_keys(url: str) -> tuple[KeyFacts, ...] | None:
    """The valid API keys; None if the role may not read them."""
    with _connected(read_database_url(url)) as connection:
        rows = _allowed(connection, "keys_with_use")
    if rows is None:
        return None
    now = datetime.now(UTC)
    return tuple(
        KeyFacts(
            prefix,
            _is_readable(scopes),
            None if expires_at is None else (expires_at - now) / _DAY,
            (now - (last_used_at or recorded_since)) / _DAY,
        )
        for _id, _name, prefix, _hash, scopes, _at, expires_at, revoked_at, recorded_since, last_used_at in rows
        if revoked_at is None and (expires_at is None or expires_at > now)
    )


def _is_readable(scopes: object) -> bool:
    try:
        Grant.parse(scopes)
    except InvalidInput:
        return False
    return True


# -- queries ---------------------------------------------------------------------------------------------------


@contextmanager
def _connected(conninfo: str) -> Iterator[Connection]:
    with (
        driver_errors(redact(conninfo)),
        psycopg.connect(
            conninfo,
            autocommit=True,
            prepare_threshold=None,
            application_name="flagent-cdc doctor",
            connect_timeout=_CONNECT_S,
            client_encoding=CLIENT_ENCODING,
        ) as connection,
    ):
        for statement, parameters in session_statements(connection):
            connection.execute(statement, parameters)
        connection.read_only = True
        yield connection


def _rows(connection: Connection, name: LiteralString, **parameters: Any) -> list[Any]:
    with connection.transaction():
        set_own_settings(connection)
        connection.execute(f"set local statement_timeout = {_STATEMENT_MS}".encode())
        return connection.execute(query(name), parameters or None).fetchall()


def _row(connection: Connection, name: LiteralString, **parameters: Any) -> Any:
    return _rows(connection, name, **parameters)[0]


def _allowed(connection: Connection, name: LiteralString) -> list[Any] | None:
    """The rows; None if the role may not read them, or the tables are of another revision."""
    try:
        return _rows(connection, name)
    except (
        psycopg.errors.InsufficientPrivilege,
        psycopg.errors.UndefinedTable,
        psycopg.errors.UndefinedColumn,
        psycopg.errors.UndefinedFunction,
        psycopg.errors.InvalidSchemaName,
    ):
        return None


def _is_local(conninfo: str, connection: Connection) -> bool:
    host = str(conninfo_to_dict(conninfo).get("host") or connection.info.host)
    return host.startswith("/") or connection.info.hostaddr in ("", "127.0.0.1", "::1") or host == "localhost"


def _clock_ahead(connection: Connection) -> float:
    before = datetime.now(UTC)
    there: datetime = _row(connection, "doctor_clock")[0]
    after = datetime.now(UTC)
    return (there - before - (after - before) / 2).total_seconds()


def _receives_notifications(conninfo: str) -> bool:
    """Whether a notification from one session reaches another; on a channel with a random name."""
    channel, nonce = f"flagent_cdc_doctor_{secrets.token_hex(8)}", secrets.token_hex(8)
    with _connected(conninfo) as listening, _connected(conninfo) as notifying:
        listening.execute(composed.SQL("listen {}").format(composed.Identifier(channel)))
        notifying.execute(query("notify"), {"channel": channel, "payload": nonce})
        return any(
            notification.payload == nonce for notification in listening.notifies(timeout=_NOTIFICATION_S, stop_after=1)
        )


# -- what is installed -----------------------------------------------------------------------------------------


def _installation(connection: Connection, wanted: Sequence[str]) -> InstallationFacts:
    attachments: Mapping[str, bool] = dict(_allowed(connection, "doctor_attachments") or ())
    schemas = list(dict.fromkeys((*wanted, *attachments)))
    tables: dict[str, set[str]] = {}
    foreign: dict[str, str] = {}
    for schema, table, owner in _rows(connection, "doctor_tables", schemas=schemas, tables=list(TABLES)):
        tables.setdefault(schema, set()).add(table)
        if owner is not None:
            foreign[f"{schema}.{table}"] = owner
    shipped = [function for one in objects() if (function := function_in(one.text)) is not None]
    revision = _allowed(connection, "doctor_revision")
    watched = _allowed(connection, "doctor_watched")
    owner, is_superuser = _row(connection, "doctor_owner")
    return InstallationFacts(
        revision=revision[0][0] if revision else None,
        revisions=_revisions(),
        functions={row[0]: Function(*row) for row in _rows(connection, "doctor_functions")},
        shipped={name: (body, runs_as_owner) for name, body, runs_as_owner in shipped},
        triggers=tuple(Trigger(*row) for row in _rows(connection, "doctor_triggers")),
        attachments=attachments,
        tables={schema: frozenset(names) for schema, names in tables.items()},
        wanted=tuple(wanted),
        owner=owner,
        is_owner_superuser=is_superuser,
        foreign_tables=foreign,
        watched=None if watched is None else {table: tuple(problems) for table, problems in watched},
        watched_relations=frozenset(name for (name,) in _allowed(connection, "doctor_watched_relations") or ()),
        log=_log(connection),
    )


def _revisions() -> tuple[str, ...]:
    """All revisions of this program, the newest last."""
    config = Config()
    config.set_main_option("script_location", f"{sql.__name__}:migrations")
    scripts = ScriptDirectory.from_config(config)
    return tuple(reversed([script.revision for script in scripts.walk_revisions()]))


def _log(connection: Connection) -> LogFacts | None:
    rows = _allowed(connection, "doctor_log")
    if rows is None:
        return None
    size_bytes, changes, oldest_age_s, newest = rows[0]
    sequences = _rows(connection, "doctor_sequences")
    duplicates, backward = _row(connection, "doctor_order")
    vacuum = _rows(connection, "doctor_vacuum")
    retention = _allowed(connection, "doctor_retention")
    prunable_age_s, kept_age_s = retention[0] if retention else (None, 0.0)
    others = _allowed(connection, "doctor_lane_logs")
    lanes, lane_log_bytes, lane_changes = others[0] if others else (0, 0, 0)
    held = _allowed(connection, "log_size")
    return LogFacts(
        size_bytes=size_bytes,
        rows=changes,
        oldest_age_s=oldest_age_s,
        newest=newest,
        position_sequence=sequences[0][0] if sequences else None,
        duplicates=duplicates,
        backward=backward,
        unpositioned=_unpositioned(connection),
        held_bytes=held[0][1] if held else None,
        prunable_age_s=prunable_age_s,
        kept_age_s=kept_age_s or 0.0,
        lanes=lanes,
        lane_log_bytes=lane_log_bytes,
        lane_changes=lane_changes,
        dead_rows={table: dead for table, dead, _ in vacuum},
        unvacuumed=tuple(table for table, _, is_off in vacuum if is_off),
    )


def _unpositioned(connection: Connection) -> int | None:
    try:
        return int(_row(connection, "doctor_unpositioned")[0])
    except psycopg.errors.QueryCanceled:
        return None


def _role(connection: Connection, name: str, installation: InstallationFacts | None, sees_sessions: bool) -> RoleFacts:
    if installation is None:
        return RoleFacts(name, sees_sessions=sees_sessions)
    schemas = [schema for schema, is_attached in installation.attachments.items() if is_attached]
    names = {"role": name, "schemas": schemas, "tables": list(TABLES)}
    lacks = _rows(
        connection, "doctor_rights", own_tables=list(RUNTIME_TABLES), functions=list(_RUNTIME_FUNCTIONS), **names
    )
    filtered = _rows(connection, "doctor_filtered", **names)
    return RoleFacts(
        name, tuple(lack for (lack,) in lacks), tuple(table for (table,) in filtered), sees_sessions=sees_sessions
    )
