"""Whether a log continues what was applied, and whether a commit does.

A replica has applied the commits of one log up to a position. Two questions decide whether it can go on from there.
`why_broken`: is this still the same log, and does it still hold everything after that position? `step`: is this commit
the next one? Everything that follows a log asks both: the listener of a node, the relay, and a node that is fed by it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import NamedTuple, Self

from .change import Commit
from .position import CommitHash, LogId, Position, commit_hash

__all__ = [
    "Applied",
    "Break",
    "CommitFingerprint",
    "PartEnd",
    "Progress",
    "Step",
    "holds_all_after",
    "step",
    "why_broken",
]


class Break(StrEnum):
    """Why what was applied cannot be continued; the values are those of `ResyncReason`."""

    LOG_REPLACED = "log_replaced"
    PRUNED = "pruned"


class Step(Enum):
    """How a commit relates to what was applied."""

    NEXT = "next"
    KNOWN = "known"
    GAP = "gap"


@dataclass(frozen=True, slots=True)
class CommitFingerprint:
    """Distinguishes a commit from another one that was given the same position."""

    position: Position
    committed_at: str
    xid: int

    @classmethod
    def of(cls, commit: Commit) -> Self:
        return cls(commit.position, commit.committed_at, commit.xid)

    @property
    def hash(self) -> CommitHash:
        """The same in short, as event ids and cursors carry it."""
        return commit_hash(self.committed_at, self.xid)


@dataclass(frozen=True, slots=True)
class Applied:
    """What a replica has applied: the log `log` up to `position`.

    `fingerprint` is that of the commit at `position`, None where it is not known, as after loading an empty log. It
    `is_trusted` unless something failed in the middle of applying: then half a commit may be in it.
    """

    log: LogId
    position: Position
    fingerprint: CommitFingerprint | None = None
    is_trusted: bool = True


def holds_all_after(oldest: Position | None, position: Position) -> bool:
    """Whether a log whose oldest commit is at `oldest` still holds every commit after `position`.

    An empty log (None) holds everything after its beginning only: what it held before it was emptied is unknown.
    """
    return position == 0 if oldest is None else position >= oldest - 1


def why_broken(
    applied: Applied, log: LogId, oldest: Position | None, newest: Position, found: CommitFingerprint | None
) -> Break | None:
    """Why the log with this extent does not continue what was applied; None where it does.

    `oldest` is None while the log is empty. `found` is the fingerprint of the commit that the log holds at the applied
    position, None where it holds none there; not needed where the logs differ, or where that of what was applied is not
    known.
    """
    if log != applied.log:
        return Break.LOG_REPLACED
    if not applied.is_trusted:
        return Break.PRUNED
    if oldest is not None and newest < applied.position:
        return Break.LOG_REPLACED
    is_held = oldest is not None and applied.position >= oldest
    if applied.fingerprint is not None and is_held and found != applied.fingerprint:
        return Break.LOG_REPLACED
    return None if holds_all_after(oldest, applied.position) else Break.PRUNED


def step(applied: Position, position: Position, after: Position) -> Step:
    """How the commit at `position`, which follows the one at `after`, relates to everything up to `applied`.

    Positions may have holes, so only `after` shows that nothing is missing in between. A commit whose predecessor is
    not known is taken for the next one only where it has the next number: then `after` is `position - 1`.
    """
    if position <= applied:
        return Step.KNOWN
    return Step.NEXT if after <= applied else Step.GAP


class PartEnd(NamedTuple):
    """Up to where a commit that is read in parts was applied: `number` is the last change's number in the log, `begin`
    how many changes of the commit come before the next part."""

    position: Position
    number: int
    begin: int


class Progress:
    """What a listener remembers of what it has applied to a replica, whose catalog has the log and the position.

    Call contract: `load` when the replica was given another state, `advance` for the commits that were published,
    `distrust` after an error that may have struck in the middle of either. `part` is None between two commits.
    """

    __slots__ = ("_fingerprint", "_is_trusted", "part")

    def __init__(self) -> None:
        self._fingerprint: CommitFingerprint | None = None
        self._is_trusted = True
        self.part: PartEnd | None = None

    def load(self, fingerprint: CommitFingerprint | None) -> None:
        self._fingerprint, self._is_trusted, self.part = fingerprint, True, None

    def advance(self, commits: Sequence[Commit]) -> None:
        """`commits` are not empty; only the last one may be a part that does not end its commit."""
        last = commits[-1]
        if last.ends:
            self.part = None
        else:
            begin = last.begin + len(last.changes)
            # A change's number in the log is its sequence where it has one.
            number = last.changes[-1].sequence or (last.indexes[-1] if last.indexes else begin)
            self.part = PartEnd(last.position, number, begin)
        for commit in commits[-2:]:
            if commit.ends:
                self._fingerprint = CommitFingerprint.of(commit)

    def distrust(self) -> None:
        self._is_trusted = False

    def applied(self, log: LogId, position: Position) -> Applied:
        """With what the replica's catalog says."""
        return Applied(log, position, self._fingerprint, self._is_trusted)
