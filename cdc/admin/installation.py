"""Installs flagent-cdc into a database, upgrades and downgrades it, attaches schemas, and uninstalls it.

Tables come from the Alembic revisions in `sql/migrations`, functions and triggers from `sql/objects`; both change in
one transaction. Every step that needs a strong lock is retried while others hold it.

Several processes may call these functions at once. Calling one again changes nothing.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import resources
from typing import TYPE_CHECKING, cast

import psycopg

import sql

from ..core.text.suggestion import did_you_mean
from ..database.database_url import read_database_url, redact
from ..database.driver_errors import driver_errors
from ..database.lock_retry import (
    Connection,
    Report,
    changing,
    connect,
    require_primary,
    retry_on_lock,
    set_lock_timeout,
    set_own_settings,
)
from ..database.queries import DatabaseObject, objects, query
from ..errors import InvalidInput, SchemaMismatch
from .event_triggers import naming_event_triggers

__all__ = [
    "OLDEST_SERVER",
    "Installation",
    "attach_pending",
    "downgrade",
    "migrate",
    "require_schemas",
    "uninstall",
]

if TYPE_CHECKING:
    from alembic.config import Config

logger = logging.getLogger(__name__)

OLDEST_SERVER = 14
"""The oldest major version of PostgreSQL that is supported."""


@dataclass(frozen=True, slots=True)
class Installation:
    """The state of a database after `migrate`.

    Changes are captured in the schemas of `attached`; those of `pending` do not have Flagent's tables yet. `changed` is
    False if everything was up to date already.
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
    """Install or upgrade, attach the schemas, and allow the role `grant_to` to run a server; `report` gets each step.

    `repair` creates every function and trigger again, in case one was changed by hand.

    Raises `LockNotAvailable` if other sessions keep a table locked for `deadline_s`; completed steps are kept.
    """
    conninfo = read_database_url(url)
    attached: list[str] = []
    pending: list[str] = []
    with driver_errors(redact(conninfo)), naming_event_triggers(conninfo), connect(conninfo) as connection:
        _require_version(connection)
        require_primary(connection, conninfo)
        changed = False
        if repair or not _is_current(connection):
            install = partial(_install, conninfo, report, repair=repair)
            changed = retry_on_lock(install, "the tables of flagent_cdc", report, deadline_s)
        for schema in dict.fromkeys(schemas):
            outcome = _attach(connection, schema, report, deadline_s)
            changed = changed or outcome == "attached"
            if outcome == "pending":
                pending.append(schema)
                report(f"schema {schema}: Flagent's tables do not exist yet; the server attaches it when they appear")
            else:
                attached.append(schema)
                report(f"schema {schema}: {'attached' if outcome == 'attached' else 'already attached'}")
        if grant_to is not None:
            _grant(connection, grant_to, report)
    return Installation(tuple(attached), tuple(pending), changed)


def require_schemas(url: str, schemas: Iterable[str]) -> None:
    """Raise `InvalidInput` for a schema that the database does not have: its name is probably misspelt.

    A schema without Flagent's tables is fine: `migrate` attaches it when they appear.
    """
    conninfo = read_database_url(url)
    with driver_errors(redact(conninfo)), connect(conninfo) as connection:
        present = [str(name) for (name,) in connection.execute(query("schemas")).fetchall()]
    for schema in schemas:
        if schema not in present:
            hint = did_you_mean(schema, present) or "; create it first"
            raise InvalidInput(
                f"there is no schema {schema!r} in {redact(conninfo)}{hint}", name="--schema", code="unknown_schema"
            )


def downgrade(url: str, revision: str, report: Report = logger.info, *, deadline_s: float = 60.0) -> bool:
    """Downgrade the tables to an earlier revision, for an older version of this program; False if they are at it.

    The older version's `migrate` must run next. The downgrade drops functions and triggers, because those of this
    version need its tables, so nothing is captured in between. The change log is kept, except for what the earlier
    revision cannot hold.

    Raises `InvalidInput` for a revision that is not an earlier one, `LockNotAvailable` as `migrate` does.
    """
    conninfo = read_database_url(url)
    with driver_errors(redact(conninfo)), naming_event_triggers(conninfo):
        with connect(conninfo) as connection:
            require_primary(connection, conninfo)
        return retry_on_lock(partial(_downgrade, conninfo, revision, report), "the watched tables", report, deadline_s)


def attach_pending(url: str, report: Report = logger.info, *, deadline_s: float = 60.0) -> tuple[str, ...]:
    """Attach the requested schemas whose tables have appeared or were created again; returns those it attached.

    Costs one query per schema if there is nothing to attach.
    """
    conninfo = read_database_url(url)
    done: list[str] = []
    with driver_errors(redact(conninfo)), naming_event_triggers(conninfo), connect(conninfo) as connection:
        for schema in _schemas(connection):
            if _attach(connection, schema, report, deadline_s) == "attached":
                done.append(schema)
                report(f"schema {schema}: attached")
    return tuple(done)


def uninstall(url: str, report: Report = logger.info, *, deadline_s: float = 60.0) -> bool:
    """Remove triggers, grants and the schema with the change log; False if nothing was installed.

    Raises `LockNotAvailable` as `migrate` does; another call continues where it stopped. Raises `SchemaMismatch`
    between `downgrade` and the `migrate` that must follow it.
    """
    conninfo = read_database_url(url)
    with driver_errors(redact(conninfo)), naming_event_triggers(conninfo), connect(conninfo) as connection:
        require_primary(connection, conninfo)
        if not _asks(connection, "has_schema"):
            report("flagent-cdc is not installed in this database; nothing to remove")
            return False
        if _asks(connection, "is_installed"):
            if not connection.execute(query("installed_objects")).fetchall():
                raise SchemaMismatch(
                    f"the tables were downgraded to revision {_revision(connection)} and the functions are missing; "
                    "run flagent-cdc migrate first, then flagent-cdc uninstall"
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
        raise SchemaMismatch(f"PostgreSQL {major} is too old: flagent-cdc needs version {OLDEST_SERVER} or newer")


def newest_revision() -> str:
    """The revision that this version's tables have; Alembic knows it too, and takes half a second to import."""
    names = [file.name for file in resources.files(sql).joinpath("migrations", "versions").iterdir()]
    newest = max(name for name in names if name[:4].isdigit())
    return newest[:4]


def _is_current(connection: Connection) -> bool:
    """Whether there is nothing to install: the usual case, at every start on an embedded database."""
    if _revision(connection) != newest_revision():
        return False
    installed: dict[str, str] = dict(connection.execute(query("installed_objects")).fetchall())
    return installed == {one.name: one.sha256 for one in objects()}


def _install(conninfo: str, report: Report, *, repair: bool) -> bool:
    """Bring tables, functions and triggers of `flagent_cdc` up to date in one transaction."""
    from alembic import command
    from alembic.util.exc import CommandError

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
        shipped = objects()
        stale = [one for one in shipped if repair or installed.get(one.name) != one.sha256]
        obsolete = installed.keys() - {one.name for one in shipped}
        for one in stale:
            # Comments may have characters that the database's encoding lacks.
            connection.execute(one.text.encode("ascii", "replace"))
            connection.execute(query("record_object"), {"name": one.name, "sha256": one.sha256})
        changed = bool(stale or obsolete) or before != after
        if changed:
            _drop_obsolete(connection, shipped)
            connection.execute(query("restore_watch_triggers"))
            connection.execute(query("prepare_predicates"))
            connection.execute(query("log_schema_changes"))
            # What is new since a role was let in, it may use too.
            connection.execute(query("grant_again"))
        if stale:
            report(f"schema flagent_cdc: {len(stale)} functions and triggers created")
    return changed


def _drop_obsolete(connection: Connection, shipped: list[DatabaseObject]) -> None:
    """Drop the functions that this version has no more, by name and by the types of their arguments."""
    functions = [one.function for one in shipped if one.function is not None]
    for statement, _ in connection.execute(query("drop_obsolete_functions"), {"functions": functions}).fetchall():
        connection.execute(statement.encode())
    connection.execute(query("forget_obsolete_objects"), {"names": [one.name for one in shipped]})


@contextmanager
def _changing(conninfo: str) -> Iterator[tuple[Connection, "Config"]]:
    """One transaction that excludes other installations, and Alembic's configuration for it."""
    # Imported late: a server whose database is up to date needs neither.
    from alembic.config import Config
    from sqlalchemy import create_engine, pool
    from sqlalchemy.exc import DBAPIError

    # Alembic needs a SQLAlchemy connection; everything else uses the driver's connection below it.
    engine = create_engine("postgresql+psycopg://", creator=lambda: _connect_plain(conninfo), poolclass=pool.NullPool)
    try:
        with engine.begin() as outer:
            connection = cast(Connection, outer.connection.driver_connection)
            set_own_settings(connection)
            connection.execute(query("lock_installation"))
            set_lock_timeout(connection)
            config = Config()
            config.set_main_option("script_location", f"{sql.__name__}:migrations")
            config.attributes["connection"] = outer
            yield connection, config
    except DBAPIError as error:
        # A revision that did not get its locks is tried again like any other step.
        if isinstance(error.orig, psycopg.Error):
            raise error.orig from error
        raise


def _downgrade(conninfo: str, revision: str, report: Report) -> bool:
    from alembic import command
    from alembic.script import ScriptDirectory

    with _changing(conninfo) as (connection, config):
        present = _revision(connection)
        known = [each.revision for each in ScriptDirectory.from_config(config).walk_revisions()]
        if present not in known:
            raise SchemaMismatch(
                "flagent-cdc is not installed in this database"
                if present is None
                else f"the database was installed by a newer flagent-cdc (revision {present}); downgrade it with that "
                "version"
            )
        earlier = known[known.index(present) :]
        if revision not in earlier:
            raise InvalidInput(
                f"the tables are at revision {present} and can be downgraded to "
                f"{', '.join(earlier[1:]) or 'no other'}, not to {revision!r}",
                name="--to",
                code="unknown_revision",
            )
        if revision == present:
            report(f"schema flagent_cdc: already at revision {revision}")
            return False
        connection.execute("set local client_min_messages = warning")
        # The tables first: a revision's downgrade may call functions, which exist until they are dropped below.
        command.downgrade(config, revision)
        for (statement,) in connection.execute(query("drop_functions")).fetchall():
            connection.execute(statement.encode())
        connection.execute(query("forget_objects"))
    report(
        f"schema flagent_cdc: tables downgraded from revision {present} to {revision}; nothing is captured until "
        "you run migrate of the version of flagent-cdc for that revision"
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
        with changing(connection):
            set_lock_timeout(connection)
            row = connection.execute(query("attach"), {"schema": schema}).fetchone()
        return "" if row is None else str(row[0])

    return retry_on_lock(attach, f"schema {schema}", report, deadline_s)


def _detach(connection: Connection, schema: str) -> None:
    with changing(connection):
        set_lock_timeout(connection)
        connection.execute(query("detach"), {"schema": schema})


def _drop(connection: Connection) -> None:
    with changing(connection):
        connection.execute(query("lock_installation"))
        set_lock_timeout(connection)
        connection.execute("set local client_min_messages = warning")
        connection.execute(query("drop_everything"))


def _grant(connection: Connection, role: str, report: Report) -> None:
    row = connection.execute(query("role_exists"), {"role": role}).fetchone()
    if row is None or not row[0]:
        raise InvalidInput(
            f"there is no role {role!r} in this database; create it first", name="grant_to", code="unknown_role"
        )
    with changing(connection):
        connection.execute(query("lock_installation"))
        connection.execute(query("grant_runtime"), {"role": role})
    report(f"role {role}: allowed to run a server")
