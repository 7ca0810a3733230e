"""Checks of the change log: size and age, pruning and vacuuming, order of positions."""

from collections.abc import Iterator

from .facts import DatabaseFacts, LogFacts
from .finding import Finding, Limits, error, note, ok, psql, unchecked

__all__ = ["check_log", "size"]

_DAY_S = 86_400.0

# A change log younger than this has no meaningful growth rate.
_RATE_S = 3600.0


def check_log(facts: DatabaseFacts, limits: Limits) -> Iterator[Finding]:
    if facts.installation is None:
        return
    log = facts.installation.log
    if log is None:
        yield unchecked(
            "log",
            f"{facts.role.name} may not read the change log",
            f"flagent-cdc migrate --grant-to {facts.role.name}",
        )
        return
    yield _size(log, limits)
    if log.lanes:
        yield _lane_size(log, limits)
    if limits.log_age_s is not None:
        yield _age(log, limits.log_age_s)
    yield _vacuum(facts, log)
    yield _dead(facts.target, log, limits)
    yield _sequences(facts, log)
    yield _order(facts.target, log)
    yield _unpositioned(facts, log)


def size(count: float) -> str:
    """
    >>> size(512), size(3 * 1024**2), size(10 * 1024**3)
    ('512 bytes', '3 MiB', '10 GiB')
    """
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            break
        count /= 1024
    return f"{count:.3g} {unit}"


def _size(log: LogFacts, limits: Limits) -> Finding:
    text = f"the change log takes {size(log.size_bytes)} on disk and holds about {log.rows} changes"
    if log.oldest_age_s is not None:
        text += f", the oldest {log.oldest_age_s / _DAY_S:.1f} days old"
        if log.oldest_age_s > _RATE_S:
            text += f"; it grows by {size(log.size_bytes / log.oldest_age_s * _DAY_S)} a day"
    if log.size_bytes <= limits.log_bytes:
        return ok("log_size", text)
    text += f": more than {size(limits.log_bytes)}"
    if log.held_bytes is not None and log.held_bytes <= limits.log_bytes:
        return note(
            "log_size",
            f"{text}, but its commits need only {size(log.held_bytes)} of that: the rest is free space in the files,"
            " which new changes use. Only `vacuum full` of the tables in flagent_cdc gives it back, and stops every"
            " writer meanwhile",
        )
    if log.kept_age_s and (log.prunable_age_s is None or log.prunable_age_s <= log.kept_age_s):
        return note(
            "log_size",
            f"{text}, and all of it is younger than the minimum age of {_age_text(log.kept_age_s)} that the owner has"
            " set, which wins: lower it with flagent-cdc prune --keep-at-least, or allow more bytes",
        )
    return error(
        "log_size",
        text,
        f"flagent-cdc prune --larger-than {limits.log_bytes}",
    )


def _age_text(seconds: float) -> str:
    return f"{seconds / 60:.3g} minutes" if seconds < _RATE_S * 2 else f"{seconds / _RATE_S:.3g} hours"


def _lane_size(log: LogFacts, limits: Limits) -> Finding:
    """Lanes share their tables, so the limit applies to all of them together: one lane may use what others leave."""
    allowed = limits.lane_log_bytes * log.lanes
    text = (
        f"the change logs of all lanes but the flags' take {size(log.lane_log_bytes)} on disk and hold about "
        f"{log.lane_changes} changes in {log.lanes} lanes"
    )
    if log.lane_log_bytes <= allowed:
        return ok("lane_log_size", text)
    return error(
        "lane_log_size",
        f"{text}: more than {size(limits.lane_log_bytes)} per lane",
        f"flagent-cdc prune --lanes-larger-than {limits.lane_log_bytes}",
    )


def _age(log: LogFacts, limit_s: float) -> Finding:
    """Servers prune about once a minute; the hour of slack is for servers that were down."""
    limit_s = max(limit_s, log.kept_age_s)
    age_s = log.prunable_age_s or 0.0
    if age_s <= limit_s + _RATE_S:
        return ok("log_age", f"no commit in the change log is older than the retention of {limit_s / _DAY_S:.3g} days")
    return error(
        "log_age",
        f"the change log holds commits {age_s / _DAY_S:.1f} days old, but retention is {limit_s / _DAY_S:.3g} days: "
        "no server prunes it",
        "flagent-cdc prune",
    )


def _vacuum(facts: DatabaseFacts, log: LogFacts) -> Finding:
    if facts.settings.get("autovacuum") == "off":
        return error(
            "autovacuum",
            "autovacuum is off, so the change log only grows",
            psql(facts.target, "alter system set autovacuum = on", "select pg_reload_conf()"),
        )
    if log.unvacuumed:
        return error(
            "autovacuum",
            f"autovacuum is off for {', '.join(log.unvacuumed)}",
            psql(facts.target, *(f"alter table flagent_cdc.{t} reset (autovacuum_enabled)" for t in log.unvacuumed)),
        )
    return ok("autovacuum", "autovacuum cleans up the change log")


def _dead(target: str, log: LogFacts, limits: Limits) -> Finding:
    many = {table: dead for table, dead in log.dead_rows.items() if dead > limits.dead_rows}
    if not many:
        return ok("dead_rows", "the change log has few dead rows")
    named = ", ".join(f"{dead} in {table}" for table, dead in sorted(many.items()))
    return error(
        "dead_rows",
        f"dead rows pile up: {named}",
        psql(target, *(f"vacuum (analyze) flagent_cdc.{table}" for table in sorted(many))),
    )


def _sequences(facts: DatabaseFacts, log: LogFacts) -> Finding:
    if log.position_sequence is None:
        return note(
            "sequences", f"{facts.role.name} may not read the sequence; run the doctor as the role that installs"
        )
    target = facts.target
    if log.position_sequence < log.newest:
        return error(
            "sequences",
            f"positions would be assigned twice: the change log is at {log.newest}, its sequence at "
            f"{log.position_sequence}; writes of Flagent fail",
            psql(target, f"select setval('flagent_cdc.commit_position', {log.newest})"),
        )
    return ok("sequences", "positions continue after the newest")


def _order(target: str, log: LogFacts) -> Finding:
    if log.duplicates:
        return error(
            "positions",
            f"{log.duplicates} positions exist more than once in the change log: its primary key is missing",
            psql(
                target,
                "delete from flagent_cdc.commit_log a using flagent_cdc.commit_log b"
                " where a.position = b.position and a.ctid > b.ctid",
                "alter table flagent_cdc.commit_log add primary key (position)",
            ),
        )
    if log.backward:
        return note(
            "positions",
            f"{log.backward} commits are older than the one before them: the database's clock was set back",
        )
    return ok("positions", "positions and commit times increase together")


def _unpositioned(facts: DatabaseFacts, log: LogFacts) -> Finding:
    if log.unpositioned is None:
        return unchecked(
            "unpositioned", "the search for changes without a position took too long", "flagent-cdc doctor"
        )
    if not log.unpositioned:
        return ok("unpositioned", "every committed change has a position")
    found = facts.installation
    schemas = () if found is None else tuple(schema for schema, is_attached in found.attachments.items() if is_attached)
    # Attaching again publishes the present state, whatever was missed.
    return error(
        "unpositioned",
        f"{log.unpositioned} committed changes have no position, so no events were sent for them",
        psql(
            facts.target,
            "delete from flagent_cdc.change_log c"
            " where not exists (select from flagent_cdc.commit_log l where l.transaction_group = c.transaction_group)",
            *(f"select flagent_cdc.detach('{schema}')" for schema in schemas),
        )
        + "".join(f" && flagent-cdc migrate --schema {schema}" for schema in schemas),
    )
