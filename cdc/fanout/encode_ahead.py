"""Encodes and hashes flags in turns after many have changed at once: after the start, a large commit, another log.

The first snapshot and the first digest would otherwise pay for all of them. A few are left to the first
request that needs them.
"""

import asyncio
from typing import Protocol

from ..core.flags.catalog import Catalog

__all__ = ["FEW_FLAGS", "encode_ahead"]

FEW_FLAGS = 200
"""So many flags are encoded and hashed in a few milliseconds: in one turn, whenever they are needed."""

# About two milliseconds of work between two turns for everything else on the loop.
_TURN_FLAGS = 48


class _Replica(Protocol):
    catalog: Catalog

    async def advance(self) -> None:
        """Wait until the catalog has moved on, or is another one."""


async def encode_ahead(replica: _Replica) -> None:
    """Run until cancelled."""
    while True:
        # Again, where a large commit came meanwhile: its flags are those of another object, and nobody is told twice.
        while replica.catalog.unhashed > FEW_FLAGS:
            for count, _ in enumerate(replica.catalog.hash_in_turns(), 1):
                if count % _TURN_FLAGS == 0:
                    await asyncio.sleep(0)
        await replica.advance()
