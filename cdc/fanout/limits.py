"""The limits of a hub."""

from dataclasses import dataclass

__all__ = ["HubLimits"]


@dataclass(frozen=True, slots=True)
class HubLimits:
    """Sizes in events and bytes, times in seconds."""

    ring_events: int = 100_000
    ring_bytes: int = 64 * 1024 * 1024
    max_flag_bytes: int = 1024 * 1024
    keep_alive_s: float = 30.0
    ping_s: float = 30.0
    stall_s: float = 60.0
    ahead_wait_s: float = 2.0
    ahead_proof_s: float = 15.0
