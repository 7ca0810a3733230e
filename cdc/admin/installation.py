"""Installs flagent-cdc into a database, upgrades it, attaches schemas, and takes everything out again.

Tables come from the Alembic revisions in `sql/migrations`, functions and triggers from `sql/objects`; both change in
one transaction. Every step that needs a strong lock is tried with patience.

Several processes may call these functions at once; calling them again changes nothing.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import cast

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import create_engine, pool

from ..database.database_url import read_database_url, redact
from ..database.driver_errors import driver_errors
from ..database.lock_retry import Connection, Report, connect, retry_on_lock, set_lock_timeout
from ..database.queries import objects, query
from ..errors import InvalidInput, SchemaMismatch

__all__ = ["OLDEST_SERVER", "Installation", "attach_pending", "downgrade", "migrate", "uninstall"]

logger = logging.getLogger(__name__)

OLDEST_SERVER = 14
"""The oldest major version of PostgreSQL that is supported."""


@dataclass(frozen=True, slots=True)
class Installation:
    """What `migrate` left behind.

    `attached` are the schemas whose changes are captured, `pending` those whose tables are not there yet; `changed` is
    False where everything was in place already.
    """

    attached: tuple[str, ...]
    pending: tuple[str, ...]
    changed: bool


def migrate(
    url: str,
    schemas: Iterable[str] = ("public",),
    grant_to: str | None = None,
    report: Report = logger.info,
    *,
    repair: bool = False,
    deadline_s: float = 60.0,
) -> Installation:
    """Install or upgrade, attach the schemas, and let the role `grant_to` run a server; `report` gets each step.

    `repair` creates functions and triggers anew that this version installed before: somebody may have changed them.

    Raises `LockNotAvailable` where a table stayed locked by others for `deadline_s`; what was done until then stays.
    """
    conninfo = read_database_url(url)
    attached: list[str] = []
    pending: list[str] = []
    with driver_errors(redact(conninfo)), connect(conninfo) as connection:
        _require_version(connection)
        install = partial(_install, conninfo, report, repair=repair)
        changed = retry_on_lock(install, "the tables of flagent_cdc", report, deadline_s)
        for schema in dict.fromkeys(schemas):
            outcome = _attach(connection, schema, report, deadline_s)
            changed = changed or outcome == "attached"
            if outcome == "pending":
                pending.append(schema)
                report(f"schema {schema}: Flagent's tables are not there yet; the server attaches when they appear")
            else:
                attached.append(schema)
                report(f"schema {schema}: {'attached' if outcome == 'attached' else 'is attached, nothing to do'}")
        if grant_to is not None:
            _grant(connection, grant_to, report)
    return Installation(tuple(attached), tuple(pending), changed)


def downgrade(url: str, revision: str, report: Report = logger.info, *, deadline_s: float = 60.0) -> bool:
    """Take the tables back to an earlier revision, for an older version of this program; False where they are at it.

    Its own `migrate` has to follow: functions and triggers are taken out, since those of this version need this
    version's tables, and so nothing is captured in between. What the log holds stays, as far as that revision has it.

    Raises `InvalidInput` for a revision that is not an earlier one, `LockNotAvailable` as `migrate` does.
    """
    conninfo = read_database_url(url)
    with driver_errors(redact(conninfo)):
        return retry_on_lock(partial(_downgrade, conninfo, revision, report), "the watched tables", report, deadline_s)


def attach_pending(url: str, report: Report = logger.info, *, deadline_s: float = 60.0) -> tuple[str, ...]:
    """Attach the wanted schemas whose tables have appeared, and those whose tables were created anew.

    Answers the schemas that this call attached. Costs one look at the catalog per schema when there is nothing to do.
    """
    conninfo = read_database_url(url)
    done: list[str] = []
    with driver_errors(redact(conninfo)), connect(conninfo) as connection:
        for schema in _schemas(connection):
            if _attach(connection, schema, report, deadline_s) == "attached":
                done.append(schema)
                report(f"schema {schema}: attached")
    return tuple(done)


def uninstall(url: str, report: Report = logger.info, *, deadline_s: float = 60.0) -> bool:
    """Remove triggers, grants and the schema with the log; False where nothing was installed.

    Raises `LockNotAvailable` as `migrate` does; calling it again goes on where it stopped. Raises `SchemaMismatch`
    between `downgrade` and the `migrate` that has to follow it.
    """
    conninfo = read_database_url(url)
    with driver_errors(redact(conninfo)), connect(conninfo) as connection:
        if not _asks(connection, "has_schema"):
            report("flagent-cdc is not installed there; nothing to remove")
            return False
        if _asks(connection, "is_installed"):
            if not connection.execute(query("installed_objects")).fetchall():
                raise SchemaMismatch(
                    f"the tables were taken back to revision {_revision(connection)} and no functions are there; "
                    "run flagent-cdc migrate first, then uninstall takes all of it out"
                )
            for schema in _schemas(connection):
                retry_on_lock(partial(_detach, connection, schema), f"schema {schema}", report, deadline_s)
                report(f"schema {schema}: detached")
        retry_on_lock(lambda: _drop(connection), "the watched tables", report, deadline_s)
        report("schema flagent_cdc: removed")
    return True


def _asks(connection: Connection, name: str) -> bool:
    row = connection.execute(query(name)).fetchone()
    return row is not None and bool(row[0])


def _schemas(connection: Connection) -> list[str]:
    return [schema for schema, _ in connection.execute(query("attachments")).fetchall()]


def _require_version(connection: Connection) -> None:
    major = connection.info.server_version // 10000
    if major < OLDEST_SERVER:
        raise SchemaMismatch(f"PostgreSQL {major} is too old: flagent-cdc needs {OLDEST_SERVER} or newer")


def _install(conninfo: str, report: Report, *, repair: bool) -> bool:
    """Bring tables, functions and triggers of `flagent_cdc` up to date in one transaction."""
    with _changing(conninfo) as (connection, config):
        before = _revision(connection)
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise SchemaMismatch(
                f"the database was installed by a newer flagent-cdc (revision {before}); upgrade this program"
            ) from error
        after = _revision(connection)
        if before != after:
            report(f"schema flagent_cdc: {'created' if before is None else 'tables upgraded'}, revision {after}")
        installed: dict[str, str] = dict(connection.execute(query("installed_objects")).fetchall())
        stale = [one for one in objects() if repair or installed.get(one.name) != one.sha256]
        for one in stale:
            connection.execute(one.text.encode())
            connection.execute(query("record_object"), {"name": one.name, "sha256": one.sha256})
        if stale or before != after:
            # What is new since a role was let in, it may use too.
            connection.execute(query("grant_again"))
        if stale:
            report(f"schema flagent_cdc: {len(stale)} functions and triggers created")
    return bool(stale) or before != after


@contextmanager
def _changing(conninfo: str) -> Iterator[tuple[Connection, Config]]:
    """One transaction in which nobody else installs, and Alembic's way into it."""
    # Alembic wants a SQLAlchemy connection; the driver connection below it serves for the rest.
    engine = create_engine("postgresql+psycopg://", creator=lambda: _connect_plain(conninfo), poolclass=pool.NullPool)
    with engine.begin() as outer:
        connection = cast(Connection, outer.connection.driver_connection)
        connection.execute(query("lock_installation"))
        set_lock_timeout(connection)
        config = Config()
        config.set_main_option("script_location", "sql:migrations")
        config.attributes["connection"] = outer
        yield connection, config


def _downgrade(conninfo: str, revision: str, report: Report) -> bool:
    with _changing(conninfo) as (connection, config):
        present = _revision(connection)
        known = [each.revision for each in ScriptDirectory.from_config(config).walk_revisions()]
        if present not in known:
            raise SchemaMismatch(
                "flagent-cdc is not installed there"
                if present is None
                else f"the database was installed by a newer flagent-cdc (revision {present}); take that version for it"
            )
        earlier = known[known.index(present) :]
        if revision not in earlier:
            raise InvalidInput(
                f"the tables are of revision {present} and can be taken back to {', '.join(earlier[1:]) or 'none'}; "
                f"{revision!r} is none of these",
                name="--to",
                code="unknown_revision",
            )
        if revision == present:
            report(f"schema flagent_cdc: is at revision {revision}, nothing to do")
            return False
        connection.execute("set local client_min_messages = warning")
        # First the tables: a revision's way down may call functions, as long as they are there.
        command.downgrade(config, revision)
        for (statement,) in connection.execute(query("drop_functions")).fetchall():
            connection.execute(statement.encode())
        connection.execute(query("forget_objects"))
    report(
        f"schema flagent_cdc: tables taken back from revision {present} to {revision}; changes are captured again "
        "when the version of flagent-cdc that belongs to it has run its migrate"
    )
    return True


def _connect_plain(conninfo: str) -> Connection:
    connection = connect(conninfo)
    connection.autocommit = False
    return connection


def _revision(connection: Connection) -> str | None:
    if not _asks(connection, "is_installed"):
        return None
    row = connection.execute(query("revision")).fetchone()
    return None if row is None else str(row[0])


def _attach(connection: Connection, schema: str, report: Report, deadline_s: float) -> str:
    def attach() -> str:
        with connection.transaction():
            set_lock_timeout(connection)
            row = connection.execute(query("attach"), {"schema": schema}).fetchone()
        return "" if row is None else str(row[0])

    return retry_on_lock(attach, f"schema {schema}", report, deadline_s)


def _detach(connection: Connection, schema: str) -> None:
    with connection.transaction():
        set_lock_timeout(connection)
        connection.execute(query("detach"), {"schema": schema})


def _drop(connection: Connection) -> None:
    with connection.transaction():
        connection.execute(query("lock_installation"))
        set_lock_timeout(connection)
        connection.execute("set local client_min_messages = warning")
        connection.execute(query("drop_everything"))


def _grant(connection: Connection, role: str, report: Report) -> None:
    row = connection.execute(query("role_exists"), {"role": role}).fetchone()
    if row is None or not row[0]:
        raise InvalidInput(
            f"there is no role {role!r} in the database to grant to", name="grant_to", code="unknown_role"
        )
    with connection.transaction():
        connection.execute(query("lock_installation"))
        connection.execute(query("grant_runtime"), {"role": role})
    report(f"role {role}: may run a server")
