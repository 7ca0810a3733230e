"""Checks of the database itself: version and settings, the connection, the role, and sessions that block others."""

from collections.abc import Iterator

from .facts import DatabaseFacts
from .finding import Finding, Limits, error, note, ok, psql

__all__ = ["check_sessions"]

_OLDEST, _NEWEST = 14, 18

# From this share on the queue is worth a note.
_QUEUE_NOTE = 0.1

# At most so many sessions are named in one sentence.
_NAMED = 3


def check_sessions(facts: DatabaseFacts, limits: Limits) -> Iterator[Finding]:
    yield _version(facts)
    yield _primary(facts)
    yield _transport(facts)
    yield _encoding(facts)
    yield _pooler(facts)
    yield _clock(facts, limits)
    yield _durability(facts)
    yield from _role_settings(facts)
    yield _replication_role(facts)
    yield _connections(facts, limits)
    yield from _role(facts)
    yield _queue(facts, limits)
    yield _transactions(facts, limits)
    yield _prepared(facts, limits)
    yield _event_triggers(facts)


def _version(facts: DatabaseFacts) -> Finding:
    major = facts.server_version // 10_000
    if major < _OLDEST:
        return error("postgresql", f"PostgreSQL {major} is too old; {_OLDEST} to {_NEWEST} are supported", "pg_upgrade")
    if major > _NEWEST:
        return note("postgresql", f"PostgreSQL {major} is newer than the tested versions, {_OLDEST} to {_NEWEST}")
    return ok("postgresql", f"PostgreSQL {major} is supported")


def _primary(facts: DatabaseFacts) -> Finding:
    if facts.is_standby:
        return error(
            "primary",
            "this is a standby, which sends no notifications",
            "export FLAGENT_CDC_DATABASE_URL='postgresql://…?target_session_attrs=read-write'",
        )
    return ok("primary", "this is a primary")


def _transport(facts: DatabaseFacts) -> Finding:
    if facts.is_local or facts.uses_tls:
        return ok("database_tls", "the connection is " + ("encrypted" if facts.uses_tls else "local"))
    return error(
        "database_tls",
        "the connection leaves this machine unencrypted, with the password and every flag",
        "export FLAGENT_CDC_DATABASE_URL='postgresql://…?sslmode=verify-full'",
    )


def _encoding(facts: DatabaseFacts) -> Finding:
    if facts.encoding == "UTF8":
        return ok("encoding", "the database encoding is UTF-8")
    if facts.encoding == "SQL_ASCII":
        return note(
            "encoding",
            "the database encoding is SQL_ASCII: rows with bytes that are not UTF-8 are delivered without their values",
        )
    return note(
        "encoding",
        f"the database encoding is {facts.encoding}: its text is converted to UTF-8; characters that it lacks "
        "cannot be stored",
    )


def _pooler(facts: DatabaseFacts) -> Finding:
    if facts.receives_notifications:
        return ok("notifications", "a notification arrived")
    if facts.is_pooled:
        return error(
            "notifications",
            "a transaction-pooling PgBouncer is in between: it passes on no notifications, so the server polls",
            "export FLAGENT_CDC_DATABASE_URL='postgresql://…'  # PostgreSQL itself, or a pool with pool_mode=session",
        )
    return error(
        "notifications",
        "a notification from one session did not reach another within two seconds",
        psql(facts.target, "select pg_notification_queue_usage()"),
    )


def _clock(facts: DatabaseFacts, limits: Limits) -> Finding:
    ahead_s = facts.clock_ahead_s
    if abs(ahead_s) <= limits.clock_s:
        return ok("database_clock", f"the database's clock differs by {abs(ahead_s):.2f} s")
    return error(
        "database_clock",
        f"the database's clock is {abs(ahead_s):.1f} s {'ahead of' if ahead_s > 0 else 'behind'} this machine's: "
        "latencies and expiry times are wrong",
        "timedatectl set-ntp true",
    )


def _durability(facts: DatabaseFacts) -> Finding:
    risky = [name for name in ("fsync", "full_page_writes") if facts.settings.get(name) == "off"]
    if risky:
        return error(
            "durability",
            f"{' and '.join(risky)} off: a crash may damage the database, and the change log in it",
            psql(facts.target, *(f"alter system set {name} = on" for name in risky), "select pg_reload_conf()"),
        )
    if facts.settings.get("synchronous_commit") == "off":
        return note(
            "durability",
            "synchronous_commit is off: a crash may roll back commits that subscribers have received; the server then "
            "resynchronises them",
        )
    return ok("durability", "commits are durable")


def _role_settings(facts: DatabaseFacts) -> Iterator[Finding]:
    """Check the deadlines of the role that serves: sessions of ours set their own, but not those of a pool."""
    name = facts.role.name
    if facts.is_pooled and facts.settings.get("idle_session_timeout", "0") != "0":
        yield error(
            "idle_session_timeout",
            f"idle_session_timeout is {facts.settings['idle_session_timeout']} ms: it disconnects the idle listener",
            psql(facts.target, f'alter role "{name}" set idle_session_timeout = 0'),
        )
    else:
        yield ok("idle_session_timeout", "idle sessions of ours are not disconnected")
    timeout = int(facts.settings.get("statement_timeout", "0"))
    if facts.is_pooled and 0 < timeout < 10_000:
        yield error(
            "statement_timeout",
            f"statement_timeout is {timeout} ms: loading the flags may take longer",
            psql(facts.target, f'alter role "{name}" set statement_timeout = 0'),
        )
    else:
        yield ok("statement_timeout", "no short statement_timeout for sessions of ours")


def _replication_role(facts: DatabaseFacts) -> Finding:
    """Our triggers fire under every role; those of foreign keys do not, and Flagent relies on their cascades."""
    who = [f"{whom} ({value})" for whom, value in facts.role_settings if value != "origin"]
    if who:
        return error(
            "session_replication_role",
            f"session_replication_role is set for {', '.join(who)}: changes are captured, but foreign keys are not "
            "enforced, and deleted flags leave their parts behind",
            psql(
                facts.target,
                *(f"alter {whom} reset session_replication_role" for whom, value in facts.role_settings),
            ),
        )
    return ok("session_replication_role", "no role writes without foreign keys")


def _connections(facts: DatabaseFacts, limits: Limits) -> Finding:
    used, most = facts.connections, facts.max_connections
    if used > most * limits.connections_share:
        return error(
            "connections",
            f"{used} of {most} connections are in use: the server may get none when it reconnects",
            psql(facts.target, f"alter system set max_connections = {most * 2}") + "  # then restart PostgreSQL",
        )
    return ok("connections", f"{used} of {most} connections are in use")


def _role(facts: DatabaseFacts) -> Iterator[Finding]:
    role = facts.role
    if facts.installation is not None:
        if role.lacks:
            yield error(
                "privileges",
                f"{role.name} may not run a server; it lacks {', '.join(role.lacks)}",
                f"flagent-cdc migrate --grant-to {role.name}",
            )
        else:
            yield ok("privileges", f"{role.name} may run a server")
        if role.filtered:
            yield error(
                "row_security",
                f"row level security hides rows of {', '.join(role.filtered)} from {role.name}: flags would be missing",
                psql(facts.target, f'alter role "{role.name}" bypassrls'),
            )
        else:
            yield ok("row_security", f"no rows are hidden from {role.name}")
    if not role.sees_sessions:
        yield note(
            "visibility",
            "this role cannot see other sessions: long transactions were not checked",
            psql(facts.target, f'grant pg_monitor to "{role.name}"'),
        )


def _queue(facts: DatabaseFacts, limits: Limits) -> Finding:
    share = facts.queue_share
    text = f"the notification queue is {share:.0%} full"
    if share <= _QUEUE_NOTE:
        return ok("queue", text)
    oldest = max(facts.sessions, key=lambda session: session.age_s, default=None)
    held = "" if oldest is None else f"; most likely blocked by {oldest}"
    if share <= limits.queue_share:
        return note("queue", text + held)
    statement = "select pid, usename, state, xact_start from pg_stat_activity order by xact_start"
    if oldest is not None:
        statement = f"select pg_terminate_backend({oldest.pid})"
    text += f": when it is full, commits are no longer announced{held}"
    return error("queue", text, psql(facts.target, statement))


def _transactions(facts: DatabaseFacts, limits: Limits) -> Finding:
    long = sorted(
        (session for session in facts.sessions if session.age_s > limits.transaction_s), key=lambda one: -one.age_s
    )
    if not long:
        if not facts.role.sees_sessions:
            return ok("transactions", "no transaction of this role is open for long")
        return ok("transactions", f"no transaction is open for longer than {limits.transaction_s:.0f} s")
    named = "; ".join(map(str, long[:_NAMED])) + (f"; and {len(long) - _NAMED} more" if len(long) > _NAMED else "")
    return error(
        "transactions",
        f"long transactions keep the change log from being cleaned up: {named}",
        psql(facts.target, *(f"select pg_terminate_backend({session.pid})" for session in long[:_NAMED])),
    )


def _prepared(facts: DatabaseFacts, limits: Limits) -> Finding:
    old = [one for one in facts.prepared if one.age_s > limits.transaction_s]
    if not old:
        return ok("prepared", "no prepared transaction is old")
    named = ", ".join(f"{one.gid} of {one.owner} ({one.age_s:.0f} s)" for one in old)
    return error(
        "prepared",
        f"old prepared transactions hold locks and keep the change log from being cleaned up: {named}",
        psql(facts.target, *(f"rollback prepared '{one.gid.replace(chr(39), chr(39) * 2)}'" for one in old)),
    )


def _event_triggers(facts: DatabaseFacts) -> Finding:
    if not facts.event_triggers:
        return ok("event_triggers", "no event trigger can refuse an upgrade")
    return note(
        "event_triggers",
        f"event triggers run with every schema change, and may refuse ours: {', '.join(facts.event_triggers)}",
    )
