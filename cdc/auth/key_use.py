"""What a server process notes about the use of API keys, until it is recorded.

Noting is done while a request waits, and costs a look into memory; recording happens about once a minute.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["KeyUse", "KeyUseNotes", "RefusalReason"]

RefusalReason = Literal["unknown", "wrong_secret", "revoked", "expired", "malformed"]
"""Why a credential in the form of a key was refused."""

# Strangers can send any number of prefixes: those beyond are counted without theirs.
_MAX_REFUSALS = 100


@dataclass(frozen=True, slots=True)
class KeyUse:
    """The ids of the keys that were used, and how often a key was refused: by its public prefix, None for one without,
    and the reason. Secrets are never part of it."""

    used: frozenset[int]
    refused: Mapping[tuple[str | None, RefusalReason], int]

    def __bool__(self) -> bool:
        return bool(self.used or self.refused)


class KeyUseNotes:
    """Collects uses and refusals; takes as much memory as there are keys, and 105 counters."""

    def __init__(self) -> None:
        self._used: set[int] = set()
        self._refused: Counter[tuple[str | None, RefusalReason]] = Counter()

    def note_use(self, key_id: int) -> None:
        self._used.add(key_id)

    def note_refusal(self, prefix: str | None, reason: RefusalReason, count: int = 1) -> None:
        is_new = (prefix, reason) not in self._refused
        self._refused[None if is_new and len(self._refused) >= _MAX_REFUSALS else prefix, reason] += count

    def take(self) -> KeyUse:
        """All that was noted since the last time."""
        use = KeyUse(frozenset(self._used), self._refused)
        self._used, self._refused = set(), Counter()
        return use

    def put_back(self, use: KeyUse) -> None:
        """Note again what could not be recorded."""
        self._used |= use.used
        for (prefix, reason), count in use.refused.items():
            self.note_refusal(prefix, reason, count)
