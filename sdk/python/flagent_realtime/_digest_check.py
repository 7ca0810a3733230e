"""Compares a store's digest with the server's and paces the snapshots that repair a difference. Pure."""

from __future__ import annotations

MAX_SNAPSHOT_PAUSE = 64
"""Most heartbeats between two repairs."""


class DigestCheck:
    """``differs`` holds from the first unequal digest until an equal one, or until a snapshot that repaired it."""

    def __init__(self) -> None:
        self.differs = False
        self._failed_repairs = 0
        self._pause = 0
        self._was_requested = False

    def compare(self, own: str, server: object) -> bool:
        """Compare the digests of one position; returns whether a snapshot must be requested now.

        While snapshots do not repair the difference, 1, 2, 4 … 64 heartbeats pass between requests.
        """
        if own == server:
            self.differs = self._was_requested = False
            self._failed_repairs = self._pause = 0
            return False
        self.differs = True
        if self._was_requested:
            self._was_requested = False
            self._pause = min(2**self._failed_repairs, MAX_SNAPSHOT_PAUSE)
            self._failed_repairs += 1
        if self._pause > 0:
            self._pause -= 1
            return False
        self._was_requested = True
        return True

    def snapshot_received(self) -> None:
        """The state was replaced. After a repair that failed, only an equal digest clears ``differs``."""
        if self._failed_repairs == 0:
            self.differs = False
