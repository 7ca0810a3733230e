from dataclasses import replace
from typing import Any

import pytest

from cdc.core.diagnosis import (
    DatabaseFacts,
    Function,
    InstallationFacts,
    Limits,
    State,
    Trigger,
    capture,
    check_database,
)
from cdc.core.diagnosis.capture import check_capture
from cdc.core.flags.flag_tables import TABLES

from .examples import DATABASE, states

SHIPPED = {"capture": ("begin end", True), "key_of": ("select 1", False)}

INSTALLATION = InstallationFacts(
    revision="0002",
    revisions=("0001", "0002"),
    functions={
        name: Function(name, body, runs_as_owner, "cdc", may_log=True)
        for name, (body, runs_as_owner) in SHIPPED.items()
    },
    shipped=SHIPPED,
    triggers=(
        *(
            Trigger("flagent_cdc", table, name, function, "A", 5)
            for (table, name), function in capture._POSITION_TRIGGERS.items()
        ),
        *(
            Trigger("flagent_cdc", table, name, function, "O", 29)
            for (table, name), function in capture._AUDIT_TRIGGERS.items()
        ),
        *(
            Trigger("public", table, name, function, "A", type, arguments, has_condition)
            for table in TABLES
            for name, (function, type, arguments, has_condition) in capture._WANTED.items()
        ),
    ),
    attachments={"public": True},
    tables={"public": frozenset(TABLES)},
    wanted=("public",),
    owner="cdc",
    watched={"public.orders": ()},
)


def installed(**changes: Any) -> DatabaseFacts:
    return replace(DATABASE, installation=replace(INSTALLATION, **changes))


def without(name: str, table: str) -> tuple[Trigger, ...]:
    return tuple(one for one in INSTALLATION.triggers if (one.name, one.table) != (name, table))


def changed(name: str, table: str, **changes: Any) -> tuple[Trigger, ...]:
    return tuple(
        replace(one, **changes) if (one.name, one.table) == (name, table) else one for one in INSTALLATION.triggers
    )


def errors(**changes: Any) -> dict[str, str]:
    return states(list(check_capture(installed(**changes))))


def test_the_owner_of_the_capture_needs_no_rights_of_a_superuser() -> None:
    found = states(list(check_capture(installed(is_owner_superuser=True))), State.NOTE)
    assert "superuser cdc" in found["owner"]


def test_a_sound_installation_has_no_errors() -> None:
    assert {finding.state for finding in check_capture(installed())} == {State.OK}


def test_without_an_installation_nothing_else_is_checked() -> None:
    (finding,) = check_capture(DATABASE)
    assert (finding.check, finding.remedy) == ("installed", "flagent-cdc migrate")
    assert "installed" in {one.check for one in check_database(DATABASE, Limits())}


@pytest.mark.parametrize(
    ("revision", "words"), [("0001", "this program needs 0002"), ("0099", "which this program does not know")]
)
def test_another_revision_is_an_error(revision: str, words: str) -> None:
    assert words in errors(revision=revision)["revision"]


@pytest.mark.parametrize(
    ("functions", "words"),
    [
        ({"capture": INSTALLATION.functions["capture"]}, "functions are missing: key_of"),
        (
            {
                **INSTALLATION.functions,
                "key_of": replace(INSTALLATION.functions["key_of"], body="select 2"),
            },
            "differ from this version: key_of",
        ),
    ],
)
def test_missing_and_modified_functions_are_errors(functions: dict[str, Function], words: str) -> None:
    assert words in errors(functions=functions)["functions"]


def test_a_capture_without_rights_names_the_role_and_its_remedy() -> None:
    powerless = replace(INSTALLATION.functions["capture"], owner="ann", may_log=False)
    findings = list(check_capture(installed(functions={**INSTALLATION.functions, "capture": powerless})))
    assert "capture (of ann)" in states(findings)["capture_rights"]
    (remedy,) = (one.remedy for one in findings if one.check == "capture_rights")
    assert 'alter function flagent_cdc.capture owner to "cdc"' in str(remedy)


@pytest.mark.parametrize(("table", "name"), list(capture._POSITION_TRIGGERS))
def test_without_a_position_trigger_commits_get_no_position(table: str, name: str) -> None:
    for triggers in (without(name, table), changed(name, table, enabled="D")):
        found = errors(triggers=triggers)
        assert found.keys() == {"assign_position"}
        assert f"no events are sent; missing or disabled triggers: {name} on {table}" in found["assign_position"]


@pytest.mark.parametrize(("table", "name"), list(capture._AUDIT_TRIGGERS))
def test_without_an_audit_trigger_changes_of_keys_are_not_recorded(table: str, name: str) -> None:
    for triggers in (without(name, table), changed(name, table, enabled="D")):
        found = errors(triggers=triggers)
        assert found.keys() == {"key_audit"}
        assert f"not recorded; missing or disabled triggers: {name} on {table}" in found["key_audit"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"attachments": {}}, "schema public is configured but not attached"),
        ({"attachments": {"public": False}, "tables": {}}, "waits for Flagent's tables (flags, segments,"),
        ({"tables": {"public": frozenset(TABLES) - {"tags"}}}, "Flagent's tables are gone: tags"),
        ({"attachments": {"public": False}}, "has its tables now, but is not attached yet"),
    ],
)
def test_a_schema_that_is_not_captured_is_an_error(changes: dict[str, Any], words: str) -> None:
    assert words in errors(**changes)["schema"]


@pytest.mark.parametrize(
    ("triggers", "words"),
    [
        (without("flagent_cdc_110_capture", "tags"), "flagent_cdc_110_capture on tags is missing"),
        (changed("flagent_cdc_100_capture", "flags", enabled="D"), "flagent_cdc_100_capture on flags is disabled"),
        (changed("flagent_cdc_100_capture", "flags", enabled="O"), "for the wrong session_replication_role"),
        (changed("flagent_cdc_130_capture", "flags", type=32), "is not the one that was installed"),
        (changed("flagent_cdc_120_capture", "flags", has_condition=False), "is not the one that was installed"),
        (tuple(one for one in INSTALLATION.triggers if one.table != "tags"), "tags has no triggers"),
    ],
)
def test_a_trigger_that_does_not_capture_is_an_error(triggers: tuple[Trigger, ...], words: str) -> None:
    found = errors(triggers=triggers)
    assert found.keys() == {"triggers"}
    assert words in found["triggers"]


def test_a_watched_table_with_problems_names_the_command_that_fixes_it() -> None:
    facts = installed(watched={"public.orders": ("the trigger is disabled",), "public.old": ("the table is gone",)})
    remedies = {
        one.text.partition(":")[0]: one.remedy for one in check_capture(facts) if one.check == "watched" and one.remedy
    }
    assert remedies["public.orders"].startswith("flagent-cdc watch public.orders ")
    assert remedies["public.old"] == "flagent-cdc unwatch public.old"


def test_watched_tables_that_cannot_be_read_are_a_note() -> None:
    assert "watched" in states(list(check_capture(installed(watched=None))), State.NOTE)


def test_triggers_left_elsewhere_are_dropped_by_the_remedy() -> None:
    stray = Trigger("public", 'old "flags', "flagent_cdc_100_capture", "flagent_cdc.capture", "A", 13)
    facts = installed(triggers=(*INSTALLATION.triggers, stray))
    (finding,) = (one for one in check_capture(facts) if one.check == "leftovers")
    assert finding.state is State.ERROR
    assert 'drop trigger "flagent_cdc_100_capture"' in str(finding.remedy).replace("\\", "")


def test_triggers_of_watched_tables_and_their_partitions_are_not_left_over() -> None:
    part = Trigger("public", "orders_2026", "flagent_cdc_200_watch", "flagent_cdc.capture_watched", "A", 29)
    triggers = (*INSTALLATION.triggers, part)
    assert "leftovers" in errors(triggers=triggers)
    assert errors(triggers=triggers, watched_relations=frozenset({"public.orders_2026"})) == {}


def test_tables_that_the_owner_may_not_alter_are_a_note() -> None:
    findings = list(check_capture(installed(foreign_tables={"public.flags": "ann"})))
    assert "may not alter public.flags" in states(findings, State.NOTE)["installer"]
    assert any('grant "ann" to "cdc"' in str(one.remedy) for one in findings)
