"""Taking a copy of the catalog back through the log, page by page."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence

from ..core.flags.catalog import Catalog
from ..core.log.change import Commit
from ..core.log.position import Position
from ..errors import OutOfReach

__all__ = ["ReadBack", "refuse_before_attachment", "rewound"]

ReadBack = Callable[[Position, Position, int], Awaitable[Sequence[Commit]]]
"""The commits at or before one position and after another, newest first, of at most so many changes; none when there
are none. Raises `OutOfReach` where changes are no longer there."""

_PAGE_CHANGES = 2_000

# Commits between two turns for everyone else; about a millisecond of work.
_TURN_COMMITS = 25


async def rewound(
    past: Catalog, read: ReadBack, down_to: Position, limit: int, *, needs: Collection[str] | None = None
) -> AsyncGenerator[Commit, None]:
    """Rewind a catalog to `down_to`; each commit is given out once it is undone, newest first.

    Raises `OutOfReach` where the log ends on the way, or one of the schemas that the caller `needs` was attached (all
    where that is None) (`pruned`), and after more than `limit` changes (`too_far_back`); a commit counts as one change
    at least. The caller asks afterwards whether the log still reaches so far back: what was pruned meanwhile is missing
    here without a trace.
    """
    spent = turn = 0
    while past.position > down_to:
        page = await read(past.position, down_to, _PAGE_CHANGES)
        if not page:
            break
        for commit in page:
            for schema in past.rewind(commit):
                if needs is None or schema in needs:
                    refuse_before_attachment(past, schema)
            spent += max(1, len(commit.changes))
            turn += 1
            if turn % _TURN_COMMITS == 0:
                await asyncio.sleep(0)
            yield commit
        if spent > limit:
            raise OutOfReach(
                f"this is further back than the {limit} changes that are read at once (FLAGENT_CDC_REPLAY_LIMIT);"
                f" position {past.position} can be reached",
                code="too_far_back",
            )
    past.position = down_to


def refuse_before_attachment(past: Catalog, schema: str) -> None:
    """Raises `OutOfReach` (`pruned`) where nothing is known of a schema, because it was attached later."""
    if (commit := past.attached.get(schema)) is not None:
        raise OutOfReach(
            f"the schema {schema} was attached at position {commit.position}; what it held before is not in the log",
            code="pruned",
            oldest=commit.position,
            oldest_at=commit.committed_at,
        )
