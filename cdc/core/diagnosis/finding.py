"""Findings of the doctor, and the exit code that sums them up."""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from ..text.shell_text import quoted

__all__ = ["Finding", "Limits", "State", "error", "exit_code", "note", "ok", "psql", "unchecked"]


class State(StrEnum):
    OK = "ok"
    NOTE = "note"  # information, no action needed
    ERROR = "error"
    UNCHECKED = "unchecked"  # the check could not be made


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check: `check` is its stable name, `text` a sentence, `remedy` a command that fixes it.

    An error always has a remedy.
    """

    check: str
    state: State
    text: str
    remedy: str | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits beyond which a check fails. Times in seconds, shares from 0 to 1."""

    transaction_s: float = 300.0
    queue_share: float = 0.5
    connections_share: float = 0.9
    log_bytes: int = 10 * 1024**3
    lane_log_bytes: int = 10 * 1024**3
    log_age_s: float | None = None
    dead_rows: int = 100_000
    clock_s: float = 2.0
    lag_positions: int = 0
    first_byte_s: float = 2.0
    certificate_days: float = 14.0
    key_expires_days: float = 30.0
    key_idle_days: float = 90.0


def exit_code(findings: Iterable[Finding]) -> int:
    """0 healthy, 1 at least one error, 2 no known error, but a check could not be made.

    >>> exit_code([ok("a", ""), note("b", "")]), exit_code([unchecked("a", "")]), exit_code([error("a", "", "x")])
    (0, 2, 1)
    """
    states = {finding.state for finding in findings}
    if State.ERROR in states:
        return 1
    return 2 if State.UNCHECKED in states else 0


def ok(check: str, text: str) -> Finding:
    return Finding(check, State.OK, text)


def note(check: str, text: str, remedy: str | None = None) -> Finding:
    return Finding(check, State.NOTE, text, remedy)


def error(check: str, text: str, remedy: str) -> Finding:
    return Finding(check, State.ERROR, text, remedy)


def unchecked(check: str, text: str, remedy: str | None = None) -> Finding:
    return Finding(check, State.UNCHECKED, text, remedy)


def psql(target: str, *statements: str) -> str:
    """The psql command that runs each statement on `target`, in a transaction per statement.

    >>> psql("postgresql://ann@db/flags", "select 'a'")
    'psql postgresql://ann@db/flags -c "select \\'a\\'"'
    """
    return " ".join(("psql", shlex.quote(target), *(f"-c {quoted(statement)}" for statement in statements)))
