"""The history of a flag: every change that clients could see, with its author, its time, and before → after.

A flag is followed by its key. The log holds rows, and the row of a constraint does not name its flag; so the catalog is
rewound commit by commit and asked for the flag before and after each. It returns the same object until the flag
changes, which makes that cheap.
"""

from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from ..core.flags.catalog import Catalog
from ..core.flags.field_changes import field_changes
from ..core.flags.flag import BOOKKEEPING, FlagJson
from ..core.flags.flag_events import flag_events
from ..core.log.change import Commit
from ..core.log.position import EventId, Position
from ..core.subscription.grant import Grant
from ..errors import OutOfReach
from .time_travel import TimeTravel

__all__ = ["FlagHistory", "flag_history"]

# Changes of all flags that one answer looks through; the next request continues from `next`.
_SCAN_CHANGES = 20_000


@dataclass(frozen=True, slots=True)
class FlagHistory:
    """Newest first. `next` is the position before which the rest is; None where nothing older is known, and then
    `reason` says why."""

    entries: list[Mapping[str, Any]]
    next: Position | None
    reason: str | None


async def flag_history(
    past: TimeTravel, schema: str, key: str, grant: Grant, *, before: Position | None, limit: int
) -> FlagHistory:
    """The newest `limit` changes of a flag before a position, as if what `grant` does not allow did not exist.

    Raises as `TimeTravel.at` does.
    """
    entries: list[Mapping[str, Any]] = []
    async with past.travelling(before) as catalog:
        newer, author = catalog.find(schema, key), None
        try:
            async with aclosing(past.back(catalog, _SCAN_CHANGES, schema)) as commits:
                async for commit in commits:
                    older = catalog.find(schema, key)
                    if older is newer:
                        continue
                    entry = _entry(catalog, commit, schema, grant, older, newer, author)
                    if entry is None:
                        # Flagent signs what it saved in a commit of its own, right after.
                        author = None if newer is None or older is None else _signed_by(older, newer) or author
                    else:
                        author = None
                        entries.append(entry)
                    newer = older
                    if len(entries) == limit:
                        return FlagHistory(entries, Position(catalog.position + 1), None)
        except OutOfReach as error:
            if error.code == "too_far_back":
                return FlagHistory(entries, Position(catalog.position + 1), None)
            return FlagHistory(entries, None, str(error))
    raise AssertionError("rewinding ends with an error")


def _entry(
    catalog: Catalog,
    commit: Commit,
    schema: str,
    grant: Grant,
    older: FlagJson | None,
    newer: FlagJson | None,
    author: str | None,
) -> Mapping[str, Any] | None:
    # It had another key before: this commit renamed it. (The renaming away is in the history of the old key.)
    before = older if older is not None or newer is None else catalog.flag_json(schema, newer["id"])
    before = before if before is not None and grant.allows_flag(schema, before) else None
    after = newer if newer is not None and grant.allows_flag(schema, newer) else None
    events = flag_events(before, after)
    if not events:
        return None
    changed = [] if before is None or after is None else field_changes(before, after)
    return {
        "position": str(commit.position),
        "id": str(EventId(commit.position, None, catalog.log, commit.hash)),
        "committedAt": commit.committed_at,
        "transactionId": str(commit.xid),
        "user": commit.user,
        "application": commit.application,
        "updatedBy": author or (None if after is None else _signed_by(before, after)),
        "events": [str(event.type) for event in events],
        "changed": changed,
        "before": before,
        "after": after,
    }


def _signed_by(before: FlagJson | None, after: FlagJson) -> str | None:
    """Its author, where this commit names one."""
    if before is not None and all(before[name] == after[name] for name in BOOKKEEPING):
        return None
    return after["updatedBy"] or None
