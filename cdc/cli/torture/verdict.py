"""Judges a recorded run: what was written, what each subscriber was told, what the tables hold in the end.

Every transaction writes its own mark into each flag that it touches, so an event says which transaction it tells of.
From that follows, without trusting log or server: whether a committed change was lost, whether one that never was was
told, whether the order was kept and transactions stayed whole, and whether copies and tables agree in the end.

>>> writes = [Write(1, ("a",), Outcome.COMMITTED, 0.0, 1.0), Write(2, ("a",), Outcome.COMMITTED, 2.0, 3.0)]
>>> told = Telling("s", [Told(7, 0, "a", 1)], {"a": 1})
>>> [violation.kind.value for violation in judge(writes, [told], {"a": 2})]
['lost', 'diverged']
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise

__all__ = ["Kind", "Outcome", "Resynced", "Telling", "Told", "Violation", "Write", "judge"]


class Outcome(Enum):
    """`UNKNOWN`: the connection broke while COMMIT was under way, so it may have happened or not."""

    COMMITTED = "committed"
    ABORTED = "aborted"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Write:
    """One transaction, or a part of one that was rolled back: its mark in these flags, from `began` to `ended`.

    Marks are unique; times are of one clock that never goes back.
    """

    mark: int
    keys: tuple[str, ...]
    outcome: Outcome
    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class Told:
    """One event: where it stands in the log, its flag, and the mark that the flag had."""

    position: int
    index: int
    key: str
    mark: int


@dataclass(frozen=True, slots=True)
class Resynced:
    """A new beginning from a snapshot: what lies up to `position` and was not told before never will be."""

    position: int


@dataclass(slots=True)
class Telling:
    """What one subscriber of every flag was told, in order and over all its connections; `flags` is its copy."""

    name: str
    items: list[Told | Resynced] = field(default_factory=list)
    flags: dict[str, int] = field(default_factory=dict)


class Kind(Enum):
    LOST = "lost"
    INVENTED = "invented"
    REPEATED = "repeated"
    DISORDERED = "disordered"
    DISAGREED = "disagreed"
    TORN = "torn"
    DIVERGED = "diverged"


@dataclass(frozen=True, slots=True)
class Violation:
    kind: Kind
    text: str

    def __str__(self) -> str:
        return f"{self.kind.value}: {self.text}"


def judge(writes: Sequence[Write], tellings: Sequence[Telling], tables: Mapping[str, int]) -> list[Violation]:
    """Everything that is wrong with a run; `tables` has the mark of each flag at the end.

    All tellings begin before the first write, and end after the last one has reached them.
    """
    positions: dict[int, int] = {}
    found = [violation for telling in tellings for violation in _order(telling)]
    found += _agreement(tellings, positions)
    found += _inventions({write.mark: write for write in writes}, tellings)
    found += _losses(writes, tellings, positions)
    found += _real_time(writes, positions)
    found += _divergences(tellings, tables)
    return found


def _order(telling: Telling) -> Iterable[Violation]:
    """Ids only grow, from one connection to the next too."""
    for before, after in pairwise(_places(telling)):
        if after == before:
            yield Violation(Kind.REPEATED, f"{telling.name} was told {after[0]}-{after[1]} twice")
        elif after < before:
            yield Violation(
                Kind.DISORDERED, f"{telling.name} was told {after[0]}-{after[1]} after {before[0]}-{before[1]}"
            )


def _places(telling: Telling) -> list[tuple[int, int]]:
    return [(item.position, item.index) for item in telling.items if isinstance(item, Told)]


def _events(tellings: Iterable[Telling]) -> Iterable[tuple[str, Told]]:
    return ((telling.name, item) for telling in tellings for item in telling.items if isinstance(item, Told))


def _agreement(tellings: Sequence[Telling], positions: dict[int, int]) -> Iterable[Violation]:
    """The same id says the same to everyone, and one transaction has one position; notes each mark's."""
    said: dict[tuple[int, int], Told] = {}
    for name, event in _events(tellings):
        if (first := said.setdefault((event.position, event.index), event)) != event:
            yield Violation(
                Kind.DISAGREED,
                f"{event.position}-{event.index} told {name} of {event.key} at {event.mark}, and others of "
                f"{first.key} at {first.mark}",
            )
        if positions.setdefault(event.mark, event.position) != event.position:
            yield Violation(
                Kind.TORN, f"transaction {event.mark} stands at {positions[event.mark]} and at {event.position}"
            )


def _inventions(writes: Mapping[int, Write], tellings: Sequence[Telling]) -> Iterable[Violation]:
    for name, event in _events(tellings):
        write = writes.get(event.mark)
        if write is None or event.key not in write.keys:
            yield Violation(Kind.INVENTED, f"{name} was told of {event.key} at {event.mark}, which nobody wrote")
        elif write.outcome is Outcome.ABORTED:
            yield Violation(Kind.INVENTED, f"{name} was told of {event.key} at {event.mark}, which was rolled back")


def _losses(writes: Sequence[Write], tellings: Sequence[Telling], positions: Mapping[int, int]) -> Iterable[Violation]:
    """Each committed change of each flag was told, but for what a resync stands for.

    A change of unknown outcome that was told to one is to be told to all.
    """
    for telling in tellings:
        told = {(event.mark, event.key) for _, event in _events([telling])}
        gaps = list(_gaps(telling))
        for write in writes:
            if write.outcome is Outcome.ABORTED or (write.outcome is Outcome.UNKNOWN and write.mark not in positions):
                continue
            missing = [key for key in write.keys if (write.mark, key) not in told]
            if not missing:
                continue
            position = positions.get(write.mark)
            if not any(position is None or low <= position <= high for low, high in gaps):
                yield Violation(Kind.LOST, f"{telling.name} was never told of {missing[0]} at {write.mark}")


def _gaps(telling: Telling) -> Iterable[tuple[int, int]]:
    """The positions that a resync stands for: from the last event before it, whose commit may have had more, to its
    own."""
    low = -1
    for item in telling.items:
        if isinstance(item, Resynced):
            yield low, item.position
        low = item.position


def _real_time(writes: Sequence[Write], positions: Mapping[int, int]) -> Iterable[Violation]:
    """What was committed before another transaction began stands before it."""
    known = [write for write in writes if write.outcome is Outcome.COMMITTED and write.mark in positions]
    by_end = sorted(known, key=lambda write: write.ended)
    done, latest = 0, None
    for write in sorted(known, key=lambda each: each.began):
        while done < len(by_end) and by_end[done].ended < write.began:
            if latest is None or positions[by_end[done].mark] > positions[latest.mark]:
                latest = by_end[done]
            done += 1
        if latest is not None and positions[latest.mark] > positions[write.mark]:
            yield Violation(
                Kind.DISORDERED,
                f"transaction {write.mark} began after {latest.mark} was committed, but stands at "
                f"{positions[write.mark]}, before {positions[latest.mark]}",
            )


def _divergences(tellings: Sequence[Telling], tables: Mapping[str, int]) -> Iterable[Violation]:
    for telling in tellings:
        for key in sorted(tables.keys() | telling.flags.keys()):
            have, want = telling.flags.get(key), tables.get(key)
            if have != want:
                yield Violation(Kind.DIVERGED, f"{telling.name} has {key} at {have}, the tables at {want}")
