"""Checks of the NATS tier: the JetStream stream that the relay writes and nodes read, and its snapshots."""

from collections.abc import Iterator

from .facts import RelayFacts, SnapshotFacts, TierFacts
from .finding import Finding, Limits, error, note, ok, unchecked

__all__ = ["check_tier"]

_RELAY = "flagent-cdc relay"

# A snapshot is due after one interval; it is late after three, plus time for a busy machine.
_LATE_INTERVALS = 3
_LATE_S = 30.0


def check_tier(facts: TierFacts, limits: Limits) -> Iterator[Finding]:
    if facts.error is not None:
        yield _unreachable(facts)
        return
    yield ok("nats", f"{facts.target} answers")
    if facts.differs is None:
        yield error("nats_stream", f"there is no JetStream stream {facts.stream}: no relay has created it", _RELAY)
        return
    yield _made(facts, facts.differs)
    yield _copies(facts)
    yield _log(facts)
    if facts.relay is None:
        yield error(
            "relay",
            "no relay answers: nodes receive no new commits, and cannot confirm that they are up to date",
            _RELAY,
        )
    else:
        yield _relay(facts.relay)
    yield _lag(facts, limits)
    if facts.snapshot is None:
        yield error("nats_snapshot", "there is no snapshot: no node can start", _RELAY)
    else:
        yield _snapshot(facts, facts.snapshot)
        yield _retention(facts, facts.snapshot)


def _unreachable(facts: TierFacts) -> Finding:
    if facts.is_refused:
        return error(
            "nats",
            str(facts.error),
            "export FLAGENT_CDC_NATS_CREDENTIALS=…  # or another way to log in, with the rights in the manual",
        )
    return unchecked("nats", str(facts.error), "nats-server --jetstream  # JetStream must be on")


def _made(facts: TierFacts, differs: tuple[str, ...]) -> Finding:
    if differs:
        return error(
            "nats_stream",
            f"the JetStream stream {facts.stream} differs from the settings: {'; '.join(differs)}",
            f"nats stream edit {facts.stream}  # or the settings",
        )
    return ok("nats_stream", f"the JetStream stream {facts.stream} matches the settings")


def _copies(facts: TierFacts) -> Finding:
    if facts.replicas < 2:
        place = "although its cluster has more" if facts.servers > 1 else "as there is only one"
        return note(
            "nats_replicas", f"one NATS server keeps the JetStream stream, {place}: if it fails, the tier fails"
        )
    return ok("nats_replicas", f"{facts.replicas} NATS servers keep the JetStream stream")


def _log(facts: TierFacts) -> Finding:
    if facts.log is None:
        return error("nats_log", f"the JetStream stream {facts.stream} holds no change log yet", _RELAY)
    if facts.log_in_database is None:
        return note("nats_log", "the relay's database was not checked, so its change log was not compared")
    if facts.log != facts.log_in_database:
        return error(
            "nats_log",
            f"the JetStream stream holds the change log {facts.log}; the checked database has {facts.log_in_database}",
            f"flagent-cdc relay --adopt {facts.log}  # only if this database replaces that one; else use another "
            "JetStream stream, --nats-stream NAME",
        )
    return ok("nats_log", "the JetStream stream holds the change log of this database")


def _relay(relay: RelayFacts) -> Finding:
    if not relay.is_fresh:
        because = f": {relay.reason}" if relay.reason else ""
        return error(
            "relay", f"the relay cannot confirm that it is up to date{because}", "flagent-cdc doctor  # of its database"
        )
    return ok("relay", f"a relay is active, at position {relay.position}")


def _lag(facts: TierFacts, limits: Limits) -> Finding:
    """The JetStream stream was read after the database, so it may be ahead."""
    known = [facts.relay.position] if facts.relay is not None else []
    if facts.log == facts.log_in_database and facts.newest_in_database is not None:
        known.append(facts.newest_in_database)
    if not known:
        return note(
            "relay_lag", f"the JetStream stream is at position {facts.position}; there was nothing to compare it with"
        )
    lag = max(known) - facts.position
    if lag > limits.lag_positions:
        return error("relay_lag", f"the JetStream stream is {lag} commits behind the database", _RELAY)
    return ok("relay_lag", f"the JetStream stream is at position {facts.position}, like the database")


def _snapshot(facts: TierFacts, snapshot: SnapshotFacts) -> Finding:
    if snapshot.log != facts.log:
        return error("nats_snapshot", f"the newest snapshot is of another change log, {snapshot.log}", _RELAY)
    late_s = facts.snapshot_interval_s * _LATE_INTERVALS + _LATE_S
    if snapshot.position < facts.position and snapshot.age_s > late_s:
        return error(
            "nats_snapshot",
            f"the newest snapshot is {snapshot.age_s:.0f} s old and {facts.position - snapshot.position} commits "
            f"behind; one is due every {facts.snapshot_interval_s:g} s",
            _RELAY,
        )
    return ok("nats_snapshot", f"the newest snapshot is at position {snapshot.position}")


def _retention(facts: TierFacts, snapshot: SnapshotFacts) -> Finding:
    """Messages between two snapshots must be kept, else nodes cannot continue from the older one."""
    if snapshot.sequence + 1 < facts.first:
        return error(
            "nats_retention",
            "the JetStream stream has dropped messages that follow the newest snapshot: no node can start",
            "export FLAGENT_CDC_NATS_MAX_BYTES=… FLAGENT_CDC_NATS_MAX_AGE=…  # more, for the relay, "
            "and in the JetStream stream",
        )
    enough_s = 2 * facts.snapshot_interval_s
    if 0 < facts.max_age_s < enough_s:
        return error(
            "nats_retention",
            f"the JetStream stream keeps messages for {facts.max_age_s:g} s, but snapshots come every "
            f"{facts.snapshot_interval_s:g} s: nodes must start over after every short absence",
            "export FLAGENT_CDC_NATS_MAX_AGE=24h  # for the relay, and in the JetStream stream",
        )
    if facts.first > 1 and facts.held_s is not None and facts.held_s < enough_s:
        return error(
            "nats_retention",
            f"the write rate is so high that the JetStream stream holds only the last {facts.held_s:.0f} s",
            "export FLAGENT_CDC_NATS_MAX_BYTES=…  # more, for the relay, and in the JetStream stream",
        )
    held = "nothing" if facts.held_s is None else f"the last {facts.held_s:.0f} s"
    return ok("nats_retention", f"the JetStream stream holds {held}, and continues the newest snapshot")
