"""The hashes of the commits that were applied lately, to recognise an id of a past that was rewritten.

A restored disk brings back an earlier state under the same log's name, and the positions after it are used again. An id
from before still has a position that exists, but the hash of a commit that does not.

>>> commits = RecentCommits(Position(7), None, most=100)
>>> commits.add(Position(8), CommitHash("3f0c9a"))
>>> [commits.confirm(EventId.parse(id)) for id in ("8@k.3f0c9a", "8-0@k.000000", "8@k", "6@k.3f0c9a")]
[True, False, True, None]
"""

from .position import CommitHash, EventId, Position

__all__ = ["RecentCommits"]


class RecentCommits:
    """Knows every commit from `floor` on. Beyond `most` the oldest are forgotten, an eighth at a time.

    `hash` is that of the commit at `floor`, None where it is not known.
    """

    __slots__ = ("_floor", "_hashes", "_most")

    def __init__(self, floor: Position, hash: CommitHash | None, *, most: int) -> None:
        self._floor = floor
        self._most = most
        self._hashes: dict[Position, CommitHash | None] = {floor: hash}

    def add(self, position: Position, hash: CommitHash) -> None:
        """The next commit, or the next part of one."""
        self._hashes[position] = hash
        if len(self._hashes) > self._most:
            for gone in list(self._hashes)[: self._most // 8 + 1]:
                del self._hashes[gone]
            self._floor = next(iter(self._hashes), position)

    def confirm(self, id: EventId) -> bool | None:
        """Whether the commit of an id, which is not ahead of the last one here, is the one at that position.

        True also where the id has no hash, so that nothing can be said against it. None where the commit is not known
        here: then the log has to be asked.
        """
        if id.hash is None:
            return True
        if id.position < self._floor:
            return None
        found = self._hashes.get(id.position)
        if found is None:
            # Every position from the floor on that is not here is a hole, which no id names.
            return None if id.position == self._floor else False
        return found == id.hash
