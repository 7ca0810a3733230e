"""Rewinds a copy of the catalog through the log, page by page."""

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

# Commits between two turns for everything else on the loop; about a millisecond of work.
_TURN_COMMITS = 25


async def rewound(
    past: Catalog, read: ReadBack, down_to: Position, limit: int, *, needs: Collection[str] | None = None
) -> AsyncGenerator[Commit, None]:
    """Rewind a catalog to `down_to`; yields each commit after it was undone, newest first.

    Raises `OutOfReach`: `pruned` where the log ends on the way, or one of the schemas that the caller `needs` (None is
    all) was attached; `too_far_back` after more than `limit` changes, where a commit counts as one at least. The
    caller must check afterwards that the log still holds everything after `down_to`: commits that were pruned meanwhile
    are missing without notice.
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
                f"this is more than {limit} changes back, the limit for one request (FLAGENT_CDC_REPLAY_LIMIT);"
                f" position {past.position} is within reach",
                code="too_far_back",
            )
    past.position = down_to


def refuse_before_attachment(past: Catalog, schema: str) -> None:
    """Raises `OutOfReach` (`pruned`) where nothing is known of a schema yet, because it was attached later."""
    if (commit := past.attached.get(schema)) is not None:
        raise OutOfReach(
            f"the schema {schema} was attached at position {commit.position}; the change log has nothing before that",
            code="pruned",
            oldest=commit.position,
            oldest_at=commit.committed_at,
        )
