"""What a store shows of a change."""

from __future__ import annotations

from dataclasses import dataclass

from ._store_core import ChangeKind, CoreChange
from .flags import Flag


@dataclass(frozen=True)
class Change:
    """How a flag of the store changed; ``before`` is ``None`` when created, ``after`` when deleted."""

    kind: ChangeKind
    key: str
    schema: str | None
    before: Flag | None
    after: Flag | None


def _typed(change: CoreChange) -> Change:
    return Change(
        change.kind,
        change.key,
        change.schema or None,
        None if change.before is None else change.before.flag,
        None if change.after is None else change.after.flag,
    )
