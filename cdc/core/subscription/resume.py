"""How a stream goes on after the last event id of a client."""

from enum import StrEnum

__all__ = ["ResyncReason"]


class ResyncReason(StrEnum):
    """Why a client must start from a snapshot instead of continuing."""

    PRUNED = "pruned"
    AHEAD = "ahead"
    OVERFLOW = "overflow"
    UNKNOWN_ID = "unknown_id"
    LOG_REPLACED = "log_replaced"
