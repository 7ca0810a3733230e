"""A program: what some sessions do to the tables of `schema`, step by step, in one order."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from .session_state import STATE

__all__ = ["Program", "SessionSpec", "Step", "Trigger"]


@dataclass(frozen=True, slots=True)
class Step:
    """One message of a client: a query string, with the data of a COPY where it has one.

    `kind` names what it is for the coverage. `is_extended` sends it by the extended protocol, as most drivers do.
    The rows of a result are compared in their order only where the step `is_ordered`.
    """

    session: int
    kind: str
    sql: str
    copy: str | None = None
    is_extended: bool = False
    is_ordered: bool = False


@dataclass(frozen=True, slots=True)
class SessionSpec:
    """The settings with which a session begins, in the order in which they are made."""

    settings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger of the program's author, with its function; `kind` names what it does."""

    kind: str
    sql: str


@dataclass(frozen=True, slots=True)
class Program:
    """Steps whose sessions wait are delayed until these are free, see `database`."""

    name: str
    triggers: tuple[Trigger, ...]
    sessions: tuple[SessionSpec, ...]
    steps: tuple[Step, ...]

    def without_triggers(self, numbers: frozenset[int]) -> Self:
        return replace(self, triggers=tuple(t for n, t in enumerate(self.triggers) if n not in numbers))

    def without_steps(self, numbers: frozenset[int]) -> Self:
        return replace(self, steps=tuple(s for n, s in enumerate(self.steps) if n not in numbers))

    def with_settings(self, settings: Sequence[tuple[str, ...]]) -> Self:
        return replace(self, sessions=tuple(SessionSpec(one) for one in settings))

    def __str__(self) -> str:
        """The program as SQL, to be read and tried by hand; `-- session n` says who runs what follows."""
        lines = [f"-- program {self.name}", "create schema prog; grant usage on schema prog to public;"]
        lines += [f"{trigger.sql.strip()}" for trigger in self.triggers]
        for number, session in enumerate(self.sessions):
            lines += [f"-- session {number} begins with", *(f"{setting};" for setting in session.settings)]
        for number, step in enumerate(self.steps):
            protocol = ", extended protocol" if step.is_extended else ""
            lines += [f"-- step {number}, session {step.session}{protocol}", f"{step.sql or STATE};"]
            if step.copy is not None:
                lines += [step.copy.rstrip("\n"), "\\."]
        return "\n".join(lines)
