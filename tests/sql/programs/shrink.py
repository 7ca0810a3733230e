"""Makes a failing program small: removes what is not needed for the failure, first much at once, then one by one."""

import time
from collections.abc import Callable, Sequence

from .program import Program

__all__ = ["shrunk"]


def shrunk(program: Program, fails: Callable[[Program], bool], limit_s: float) -> Program:
    """The smallest program found within `limit_s` for which `fails` is true, as it is for the given one."""
    deadline = time.monotonic() + limit_s
    while True:
        before = program
        for count_of, without in (
            (lambda p: len(p.triggers), Program.without_triggers),
            (lambda p: len(p.steps), Program.without_steps),
        ):
            program = _reduced(program, fails, deadline, count_of, without)
        program = _plain(program, fails, deadline)
        if program == before or time.monotonic() > deadline:
            return program


def _reduced(
    program: Program, fails: Callable[[Program], bool], deadline: float, count_of: Callable[[Program], int],
    without: Callable[[Program, frozenset[int]], Program],
) -> Program:  # fmt: skip
    size = max(count_of(program) // 2, 1)
    while True:
        begin = 0
        while begin < count_of(program):
            if time.monotonic() > deadline:
                return program
            smaller = without(program, frozenset(range(begin, begin + size)))
            if fails(smaller):
                program = smaller
            else:
                begin += size
        if size == 1:
            return program
        size //= 2


def _plain(program: Program, fails: Callable[[Program], bool], deadline: float) -> Program:
    """Without the settings that do not matter."""
    for number, session in enumerate(program.sessions):
        for setting in session.settings:
            if time.monotonic() > deadline:
                return program
            simpler = _without_setting(program, number, setting)
            if fails(simpler):
                program = simpler
    return program


def _without_setting(program: Program, number: int, setting: str) -> Program:
    sessions: Sequence[tuple[str, ...]] = [
        tuple(s for s in session.settings if n != number or s != setting) for n, session in enumerate(program.sessions)
    ]
    return program.with_settings(sessions)
