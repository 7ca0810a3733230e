"""Checks a recorded run: the writes, what was delivered to each subscriber, and the tables at the end.

Every transaction writes a unique mark into each flag it changes, so an event identifies its transaction. From the marks
it follows, without trusting the log or a server, whether a committed change was lost, whether one that was never
committed was delivered, whether the order was kept and transactions stayed whole, and whether copies and tables agree
at the end.

>>> writes = [Write(1, ("a",), Outcome.COMMITTED, 0.0, 1.0), Write(2, ("a",), Outcome.COMMITTED, 2.0, 3.0)]
>>> delivery = Delivery("s", [Delivered(7, 0, "a", 1)], {"a": 1})
>>> [violation.kind.value for violation in check_run(writes, [delivery], {"a": 2})]
['lost', 'diverged']
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise

__all__ = [
    "Delivered",
    "Delivery",
    "Kind",
    "Outcome",
    "Resynced",
    "Violation",
    "Write",
    "check_run",
    "divergences_of_rows",
    "divergences_of_texts",
    "longest_delay_s",
]


# Faults are repaired within seconds: an event that comes later shows a server that heard nothing, and did not know it.
_LATE_S = 60.0


class Outcome(Enum):
    """`UNKNOWN`: the connection broke during COMMIT, so the transaction may have committed or not."""

    COMMITTED = "committed"
    ABORTED = "aborted"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Write:
    """One transaction, or a part of one that was rolled back: its mark in these flags, from `began` to `ended`.

    Marks are unique; times are of one monotonic clock.
    """

    mark: int
    keys: tuple[str, ...]
    outcome: Outcome
    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class Delivered:
    """One event: its place in the change log, its flag, and the flag's mark; received `at`, by the clock of writes."""

    position: int
    index: int
    key: str
    mark: int
    at: float = field(default=-math.inf, compare=False)


@dataclass(frozen=True, slots=True)
class Resynced:
    """A restart from a snapshot: changes up to `position` that were not delivered before never will be."""

    position: int


@dataclass(slots=True)
class Delivery:
    """What one subscriber of every flag received, in order and over all its connections.

    `flags` and `texts` are its copy: the mark of each flag, and all that writers change of it.
    """

    name: str
    items: list[Delivered | Resynced] = field(default_factory=list)
    flags: dict[str, int] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)


class Kind(Enum):
    LOST = "lost"
    INVENTED = "invented"
    REPEATED = "repeated"
    DISORDERED = "disordered"
    DISAGREED = "disagreed"
    TORN = "torn"
    DIVERGED = "diverged"
    LATE = "late"


@dataclass(frozen=True, slots=True)
class Violation:
    kind: Kind
    text: str

    def __str__(self) -> str:
        return f"{self.kind.value}: {self.text}"


def check_run(writes: Sequence[Write], deliveries: Sequence[Delivery], tables: Mapping[str, int]) -> list[Violation]:
    """Every violation in a run; `tables` has the mark of each flag at the end.

    All deliveries begin before the first write, and end after the last one was received.
    """
    positions: dict[int, int] = {}
    found = [violation for delivery in deliveries for violation in _order(delivery)]
    found += _agreement(deliveries, positions)
    found += _inventions({write.mark: write for write in writes}, deliveries)
    found += _losses(writes, deliveries, positions)
    found += _real_time(writes, positions)
    found += _divergences(deliveries, tables)
    found += _late(writes, deliveries)
    return found


def _order(delivery: Delivery) -> Iterable[Violation]:
    """Ids ascend, also from one connection to the next."""
    for before, after in pairwise(_places(delivery)):
        if after == before:
            yield Violation(Kind.REPEATED, f"{delivery.name} received {after[0]}-{after[1]} twice")
        elif after < before:
            yield Violation(
                Kind.DISORDERED, f"{delivery.name} received {after[0]}-{after[1]} after {before[0]}-{before[1]}"
            )


def _places(delivery: Delivery) -> list[tuple[int, int]]:
    return [(item.position, item.index) for item in delivery.items if isinstance(item, Delivered)]


def _events(deliveries: Iterable[Delivery]) -> Iterable[tuple[str, Delivered]]:
    return ((delivery.name, item) for delivery in deliveries for item in delivery.items if isinstance(item, Delivered))


def _agreement(deliveries: Sequence[Delivery], positions: dict[int, int]) -> Iterable[Violation]:
    """An id means the same event to every subscriber, and a transaction has one position, which is stored by mark."""
    seen: dict[tuple[int, int], Delivered] = {}
    for name, event in _events(deliveries):
        if (first := seen.setdefault((event.position, event.index), event)) != event:
            yield Violation(
                Kind.DISAGREED,
                f"{event.position}-{event.index} was {event.key} at {event.mark} for {name}, and {first.key} at "
                f"{first.mark} for others",
            )
        if positions.setdefault(event.mark, event.position) != event.position:
            yield Violation(
                Kind.TORN, f"transaction {event.mark} has positions {positions[event.mark]} and {event.position}"
            )


def _inventions(writes: Mapping[int, Write], deliveries: Sequence[Delivery]) -> Iterable[Violation]:
    for name, event in _events(deliveries):
        write = writes.get(event.mark)
        if write is None or event.key not in write.keys:
            yield Violation(Kind.INVENTED, f"{name} received {event.key} at {event.mark}, which was never written")
        elif write.outcome is Outcome.ABORTED:
            yield Violation(Kind.INVENTED, f"{name} received {event.key} at {event.mark}, which was rolled back")


def _losses(
    writes: Sequence[Write], deliveries: Sequence[Delivery], positions: Mapping[int, int]
) -> Iterable[Violation]:
    """Every committed change of every flag was delivered, except for those that a resync covers.

    A change of unknown outcome that was delivered to one subscriber must be delivered to all.
    """
    for delivery in deliveries:
        delivered = {(event.mark, event.key) for _, event in _events([delivery])}
        gaps = list(_gaps(delivery))
        for write in writes:
            if write.outcome is Outcome.ABORTED or (write.outcome is Outcome.UNKNOWN and write.mark not in positions):
                continue
            missing = [key for key in write.keys if (write.mark, key) not in delivered]
            if not missing:
                continue
            position = positions.get(write.mark)
            if not any(position is None or low <= position <= high for low, high in gaps):
                yield Violation(Kind.LOST, f"{delivery.name} never received {missing[0]} at {write.mark}")


def _gaps(delivery: Delivery) -> Iterable[tuple[int, int]]:
    """The positions that a resync covers: from the last event before it, whose commit may have had more, to its own."""
    low = -1
    for item in delivery.items:
        if isinstance(item, Resynced):
            yield low, item.position
        low = item.position


def _real_time(writes: Sequence[Write], positions: Mapping[int, int]) -> Iterable[Violation]:
    """A transaction committed before another one began has the lower position."""
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
                f"transaction {write.mark} began after {latest.mark} was committed, but has position "
                f"{positions[write.mark]}, before {positions[latest.mark]}",
            )


def _divergences(deliveries: Sequence[Delivery], tables: Mapping[str, int]) -> Iterable[Violation]:
    for delivery in deliveries:
        for key in sorted(tables.keys() | delivery.flags.keys()):
            have, want = delivery.flags.get(key), tables.get(key)
            if have != want:
                yield Violation(Kind.DIVERGED, f"{delivery.name} has {key} at {have}, the tables have it at {want}")


def _delays(writes: Sequence[Write], deliveries: Iterable[Delivery]) -> Iterable[tuple[float, str, Delivered]]:
    ended = {write.mark: write.ended for write in writes if write.outcome is Outcome.COMMITTED}
    return ((event.at - ended[event.mark], name, event) for name, event in _events(deliveries) if event.mark in ended)


def _late(writes: Sequence[Write], deliveries: Iterable[Delivery]) -> Iterable[Violation]:
    for delay_s, name, event in _delays(writes, deliveries):
        if delay_s > _LATE_S:
            yield Violation(Kind.LATE, f"{name} received {event.key} at {event.mark} {delay_s:.0f} s after its commit")


def longest_delay_s(writes: Sequence[Write], deliveries: Iterable[Delivery]) -> float:
    """From the answer to a COMMIT until a subscriber received one of its events; 0 where all came before."""
    return max((0.0, *(delay_s for delay_s, _, _ in _delays(writes, deliveries))))


def divergences_of_texts(deliveries: Iterable[Delivery], texts: Mapping[str, str]) -> Iterable[Violation]:
    """A subscriber's copy says of each flag what the table says at the end, not only the mark."""
    for delivery in deliveries:
        for key in sorted(texts.keys() & delivery.texts.keys()):
            if delivery.texts[key] != texts[key]:
                yield Violation(
                    Kind.DIVERGED, f"{delivery.name} has {key} as {delivery.texts[key]}, the tables as {texts[key]}"
                )


def divergences_of_rows(table: str, folded: Mapping[str, object], held: Mapping[str, object]) -> Iterable[Violation]:
    """The changes of a watched table, applied in their order, lead to what it holds."""
    for key in sorted(folded.keys() | held.keys(), key=int):
        if folded.get(key) != held.get(key):
            yield Violation(
                Kind.DIVERGED, f"the changes of {table} lead to {folded.get(key)}, and it holds {held.get(key)}"
            )
