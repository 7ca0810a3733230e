import shlex

import pytest

from cdc.core.diagnosis import State, exit_code
from cdc.core.diagnosis.finding import Finding, error, note, ok, psql, unchecked


def test_each_state_has_its_constructor() -> None:
    assert ok("a", "good") == Finding("a", State.OK, "good", None)
    assert note("a", "known") == Finding("a", State.NOTE, "known", None)
    assert error("a", "bad", "fix it") == Finding("a", State.ERROR, "bad", "fix it")
    assert unchecked("a", "unknown", "look") == Finding("a", State.UNCHECKED, "unknown", "look")


def test_the_states_on_the_wire_are_stable() -> None:
    assert list(map(str, State)) == ["ok", "note", "error", "unchecked"]


@pytest.mark.parametrize(
    ("findings", "code"),
    [
        ([], 0),
        ([ok("a", ""), note("b", "")], 0),
        ([ok("a", ""), unchecked("b", "")], 2),
        ([unchecked("a", ""), error("b", "", "x")], 1),
    ],
)
def test_an_error_outweighs_a_missing_check(findings: list[Finding], code: int) -> None:
    assert exit_code(findings) == code


def test_each_statement_survives_the_shell_as_one_argument() -> None:
    statements = ("select 'a'", 'drop trigger "x" on "a b"."c"', "select '$1', `pwd`")
    command = psql("postgresql://ann@db/my flags", *statements)
    program, target, *arguments = shlex.split(command)
    assert (program, target) == ("psql", "postgresql://ann@db/my flags")
    assert arguments == [part for statement in statements for part in ("-c", statement)]
