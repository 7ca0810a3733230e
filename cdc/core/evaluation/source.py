"""The source of flags for evaluation."""

from collections.abc import Iterable
from typing import Protocol

from .flag import CompiledFlag

__all__ = ["FlagSource"]


class FlagSource(Protocol):
    """The live flags of one schema, enabled or not, at one position."""

    def by_id(self, flag_id: int, /) -> CompiledFlag | None: ...

    def by_key(self, key: str, /) -> CompiledFlag | None: ...

    def by_tag(self, tag: str, /) -> Iterable[CompiledFlag]:
        """The flags with exactly this tag, newest id first."""
