"""Checks of the capture: the installation, its functions and triggers, the configured schemas."""

from collections.abc import Iterator, Mapping

from ..flags.flag_tables import TABLES
from .facts import DatabaseFacts, InstallationFacts, Trigger
from .finding import Finding, error, note, ok, psql

__all__ = ["check_capture"]

_CAPTURE, _UPDATE, _TRUNCATE = "flagent_cdc.capture", "flagent_cdc.capture_update", "flagent_cdc.capture_truncate"

# As in `flagent_cdc.has_triggers`: function, bits of the type (1 row, 2 before, 4 insert, 8 delete, 16 update, 32
# truncate), arguments, and whether the trigger has a condition. All of them are enabled always.
_WANTED = {
    "flagent_cdc_100_capture": (_CAPTURE, 1 + 4 + 8, "", False),
    "flagent_cdc_110_capture": (_UPDATE, 16, "", True),
    "flagent_cdc_120_capture": (_CAPTURE, 1 + 16, "", True),
    "flagent_cdc_130_capture": (_TRUNCATE, 2 + 32, "rows\\000", False),
}

_POSITION_TRIGGERS = {
    ("change_log_first", "flagent_cdc_900_assign_position"): "flagent_cdc.assign_position",
    ("deferred_commit", "flagent_cdc_910_assign_position"): "flagent_cdc.assign_position",
    ("lane_change_log_first", "flagent_cdc_920_assign_position"): "flagent_cdc.assign_lane_position",
    ("deferred_commit", "flagent_cdc_930_assign_position"): "flagent_cdc.assign_lane_position",
    ("deferred_commit", "flagent_cdc_940_order_read_changes"): "flagent_cdc.order_read_changes",
}

_AUDIT_TRIGGERS = {
    ("api_key", "flagent_cdc_810_audit"): "flagent_cdc.audit_api_key",
    ("stream_token_secret", "flagent_cdc_820_audit"): "flagent_cdc.audit_token_secret",
}

_OURS = "flagent_cdc"

# The functions that run in the transactions of Flagent start with these.
_WRITERS = ("capture", "assign")


def check_capture(facts: DatabaseFacts) -> Iterator[Finding]:
    found = facts.installation
    if found is None:
        yield error("installed", "flagent-cdc is not installed in this database", "flagent-cdc migrate")
        return
    yield _revision(found)
    yield _functions(found)
    yield _rights_of_functions(facts.target, found)
    yield _owner(found)
    yield _position_triggers(found)
    yield _audit_triggers(found)
    yield from _schemas(found)
    yield from _watched(facts, found)
    yield _leftovers(facts.target, found)
    yield _upgradable(facts.target, found)


def _revision(found: InstallationFacts) -> Finding:
    newest = found.revisions[-1]
    if found.revision == newest:
        return ok("revision", f"the tables are at revision {newest}, the newest")
    if found.revision in found.revisions:
        text = f"the tables are at revision {found.revision}; this program needs {newest}"
        return error("revision", text, "flagent-cdc migrate")
    return error(
        "revision",
        f"the tables are at revision {found.revision}, which this program does not know: a newer one installed them",
        "pip install --upgrade flagent-cdc",
    )


def _functions(found: InstallationFacts) -> Finding:
    missing = sorted(found.shipped.keys() - found.functions.keys())
    if missing:
        return error("functions", f"functions are missing: {', '.join(missing)}", "flagent-cdc migrate --repair")
    different = sorted(
        name
        for name, (body, runs_as_owner) in found.shipped.items()
        if (found.functions[name].body, found.functions[name].runs_as_owner) != (body, runs_as_owner)
    )
    if different:
        return error(
            "functions",
            f"functions differ from this version: {', '.join(different)}",
            "flagent-cdc migrate --repair",
        )
    return ok("functions", f"all {len(found.shipped)} functions match this version")


def _owner(found: InstallationFacts) -> Finding:
    """The capture runs with its owner's rights, in the transactions of every writer."""
    if found.is_owner_superuser:
        return note(
            "owner",
            f"flagent_cdc belongs to the superuser {found.owner}, with whose rights the capture runs; a role that owns "
            "the captured tables is enough",
        )
    return ok("owner", f"flagent_cdc belongs to {found.owner}, which is no superuser")


def _rights_of_functions(target: str, found: InstallationFacts) -> Finding:
    """A capture that may not write the change log fails every write of Flagent."""
    powerless = sorted(
        (function.name, function.owner)
        for function in found.functions.values()
        if function.name.startswith(_WRITERS) and function.runs_as_owner and not function.may_log
    )
    if powerless:
        names = ", ".join(f"{name} (of {owner})" for name, owner in powerless)
        return error(
            "capture_rights",
            f"functions run as a role that may not write the change log, so writes of Flagent fail: {names}",
            psql(target, *(f'alter function flagent_cdc.{name} owner to "{found.owner}"' for name, _ in powerless)),
        )
    return ok("capture_rights", "capture runs as a role that may write the change log")


def _not_working(found: InstallationFacts, wanted: Mapping[tuple[str, str], str], enabled: str) -> list[str]:
    """Those of our triggers on our own tables that are missing, changed, or not enabled like that."""
    working = {
        (trigger.table, trigger.name)
        for trigger in found.triggers
        if trigger.schema == _OURS
        and trigger.function == wanted.get((trigger.table, trigger.name))
        and trigger.enabled == enabled
    }
    return sorted(f"{name} on {table}" for table, name in wanted.keys() - working)


def _position_triggers(found: InstallationFacts) -> Finding:
    missing = _not_working(found, _POSITION_TRIGGERS, "A")
    if missing:
        return error(
            "assign_position",
            f"commits get no position, so no events are sent; missing or disabled triggers: {', '.join(missing)}",
            "flagent-cdc migrate --repair",
        )
    return ok("assign_position", "every commit gets a position")


def _audit_triggers(found: InstallationFacts) -> Finding:
    missing = _not_working(found, _AUDIT_TRIGGERS, "O")
    if missing:
        return error(
            "key_audit",
            f"changes of API keys are not recorded; missing or disabled triggers: {', '.join(missing)}",
            "flagent-cdc migrate --repair",
        )
    return ok("key_audit", "changes of API keys are recorded")


def _schemas(found: InstallationFacts) -> Iterator[Finding]:
    for schema in dict.fromkeys((*found.wanted, *found.attachments)):
        yield _schema(found, schema)


def _schema(found: InstallationFacts, schema: str) -> Finding:
    migrate = f"flagent-cdc migrate --schema {schema}"
    absent = [table for table in TABLES if table not in found.tables.get(schema, frozenset())]
    if schema not in found.attachments:
        return error("schema", f"schema {schema} is configured but not attached", migrate)
    if absent and not found.attachments[schema]:
        return error(
            "schema",
            f"schema {schema} waits for Flagent's tables ({', '.join(absent)} missing); start Flagent, or name the "
            "schema that it uses",
            "flagent-cdc migrate --schema SCHEMA",
        )
    if absent:
        return error("schema", f"schema {schema}: Flagent's tables are gone: {', '.join(absent)}", migrate)
    if not found.attachments[schema]:
        return error("schema", f"schema {schema} has its tables now, but is not attached yet", migrate)
    problems = sorted(_problems(found, schema))
    if problems:
        return error("triggers", f"schema {schema}: changes are not captured: {'; '.join(problems)}", migrate)
    return ok("triggers", f"schema {schema}: all {len(TABLES) * len(_WANTED)} triggers exist and are enabled")


def _problems(found: InstallationFacts, schema: str) -> Iterator[str]:
    there = {(trigger.table, trigger.name): trigger for trigger in found.triggers if trigger.schema == schema}
    for table in TABLES:
        gone = [name for name in _WANTED if (table, name) not in there]
        if len(gone) == len(_WANTED):
            yield f"{table} has no triggers"
            continue
        for name in gone:
            yield f"{name} on {table} is missing"
        for name in _WANTED.keys() - set(gone):
            if (problem := _problem(there[table, name])) is not None:
                yield f"{name} on {table} {problem}"


def _problem(trigger: Trigger) -> str | None:
    if trigger.enabled == "D":
        return "is disabled"
    if trigger.enabled != "A":
        return "is enabled for the wrong session_replication_role"
    if (trigger.function, trigger.type, trigger.arguments, trigger.has_condition) != _WANTED[trigger.name]:
        return "is not the one that was installed"
    return None


def _watched(facts: DatabaseFacts, found: InstallationFacts) -> Iterator[Finding]:
    if found.watched is None:
        yield note("watched", f"the watched tables were not checked: {facts.role.name} may not read their state")
        return
    for table, problems in found.watched.items():
        if problems:
            remedy = f"flagent-cdc watch {table}  # with the options that it should have"
            if "the table is gone" in problems:
                remedy = f"flagent-cdc unwatch {table}"
            yield error("watched", f"{table}: {'; '.join(problems)}", remedy)
        else:
            yield ok("watched", f"{table} is watched as configured")


def _leftovers(target: str, found: InstallationFacts) -> Finding:
    """Our triggers outside attached schemas and watched tables: left on renamed or copied tables, or moved schemas."""
    stray = [
        trigger
        for trigger in found.triggers
        if trigger.schema != _OURS
        and not (trigger.schema in found.attachments and trigger.table in TABLES)
        and not (found.watched is None and trigger.name.endswith("_watch"))
        and f"{trigger.schema}.{trigger.table}" not in found.watched_relations
    ]
    if not stray:
        return ok("leftovers", "no trigger of flagent-cdc is left on other tables")
    tables = sorted({f"{trigger.schema}.{trigger.table}" for trigger in stray})
    return error(
        "leftovers",
        f"triggers of flagent-cdc are left on tables that are not watched: {', '.join(tables)}",
        psql(target, *(f'drop trigger "{t.name}" on "{t.schema}"."{t.table}"' for t in stray)),
    )


def _upgradable(target: str, found: InstallationFacts) -> Finding:
    if not found.foreign_tables:
        return ok("installer", f"{found.owner}, the owner of schema flagent_cdc, may alter Flagent's tables")
    owners = sorted(set(found.foreign_tables.values()))
    return note(
        "installer",
        f"{found.owner} owns schema flagent_cdc but may not alter {', '.join(sorted(found.foreign_tables))}: the next "
        "upgrade of the triggers would fail",
        psql(target, *(f'grant "{owner}" to "{found.owner}"' for owner in owners)),
    )
