"""Commits of any size, applied and encoded in turns.

A statement that writes fifty thousand flags is one commit: it has one position, and its events follow from all of it.
It is applied to a copy of the catalog, which shares all that does not change, and its events are encoded, before
anything of it becomes visible. What remains to be done at once costs a few milliseconds.
"""

import asyncio
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from ..core.collector import collector_paused
from ..core.flags.catalog import Catalog
from ..core.flags.events import Event, EventType
from ..core.flags.flag_tables import TABLES
from ..core.log.change import Commit
from ..core.steps import release_in_turns
from ..core.subscription.ring import Key
from ..core.wire.encoded import EncodedEvent, encode_in_turns

__all__ = ["LARGE_CHANGES", "PreparedCommit", "portions", "prepare"]

LARGE_CHANGES = 500
"""What is applied, encoded and delivered in one turn: tens of milliseconds of work at most."""

_TURN_EVENTS = 500

T = TypeVar("T")


def portions(commits: Sequence[Commit]) -> Iterator[Sequence[Commit]]:
    """The commits in portions of at most `LARGE_CHANGES`, in order; a larger one is a portion of its own where it
    changes flags, and comes in parts where it changes rows of watched tables alone."""
    portion: list[Commit] = []
    size = 0
    for commit in commits:
        count = len(commit.changes)
        if portion and size + count > LARGE_CHANGES:
            yield portion
            portion, size = [], 0
        if count <= LARGE_CHANGES:
            portion.append(commit)
            size += count
        elif any(change.table in TABLES for change in commit.changes):
            yield [commit]
        else:
            for part in _parts(commit):
                yield [part]
    if portion:
        yield portion


def _parts(commit: Commit) -> Iterator[Commit]:
    for start in range(0, len(commit.changes), LARGE_CHANGES):
        end = start + LARGE_CHANGES
        yield replace(
            commit,
            changes=commit.changes[start:end],
            begin=commit.begin + start,
            ends=commit.ends and end >= len(commit.changes),
            indexes=commit.indexes[start:end],
        )


@dataclass(frozen=True, slots=True)
class PreparedCommit:
    """A commit that was applied to `catalog`, a copy, with its encoded events, their keys and sizes, how many there are
    of each type, and those of rows of watched tables."""

    catalog: Catalog
    events: Sequence[EncodedEvent]
    keys: Sequence[Key]
    sizes: Sequence[int]
    types: Counter[EventType]
    of_rows: Sequence[Event]


async def prepare(present: Catalog, commit: Commit) -> PreparedCommit:
    """Apply a commit to a copy of the catalog; in turns."""
    with collector_paused():
        return await _prepare(present, commit)


async def _prepare(present: Catalog, commit: Commit) -> PreparedCommit:
    catalog = await _in_turns(present.copy_in_turns())
    events = await _in_turns(catalog.apply_in_turns(commit))
    encoded = await _in_turns(encode_in_turns(events, catalog.bound, in_outline=len(events) > LARGE_CHANGES))
    for _ in release_in_turns(events):  # with the flags, of which the encoded ones keep an outline
        await asyncio.sleep(0)
    keys: list[Key] = []
    sizes: list[int] = []
    types: Counter[EventType] = Counter()
    of_rows: list[Event] = []
    for start in range(0, len(encoded), _TURN_EVENTS):
        some = encoded[start : start + _TURN_EVENTS]
        keys += [event.event_id.order for event in some]
        sizes += [event.size_bytes for event in some]
        types.update([event.event.type for event in some])
        of_rows += [event.event for event in some if event.event.flag_id is None]
        await asyncio.sleep(0)
    return PreparedCommit(catalog, encoded, keys, sizes, types, of_rows)


async def _in_turns(steps: Generator[None, None, T]) -> T:
    """What the generator returns; between two steps, everything else has its turn."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        await asyncio.sleep(0)
