"""Marks a response made from what this server has read last, while it cannot confirm that nothing is missing."""

from collections.abc import MutableMapping
from typing import Any

__all__ = ["STALE_HEADER", "mark_stale", "staleness"]

STALE_HEADER = b"flagent-stale"
"""The seconds since the freshness of the flags was confirmed; absent where it is confirmed now."""

_KEY = "flagent_cdc.stale_s"


def mark_stale(scope: MutableMapping[str, Any], age_ms: int) -> None:
    """Mark the response to the request of an ASGI scope."""
    scope[_KEY] = age_ms // 1000


def staleness(scope: MutableMapping[str, Any]) -> int | None:
    """The value of the header for a request that was marked; None for any other."""
    age_s: int | None = scope.get(_KEY)
    return age_s
