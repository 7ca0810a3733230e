"""How many clients a process can serve with the files that it may open.

>>> connections_within(1024), connections_within(64)
(880, 1)
"""

__all__ = ["ARRIVING", "HEALTH_CHECKS", "RESERVED_DESCRIPTORS", "connections_within"]

# Health checks that are answered although all connections are in use.
HEALTH_CHECKS = 16

# Connections that are accepted and refused again, until the loop has closed them.
ARRIVING = 64

# PostgreSQL, NATS, libraries, the application log, listening sockets.
_OWN = 64

RESERVED_DESCRIPTORS = HEALTH_CHECKS + ARRIVING + _OWN
"""File descriptors besides those of clients."""


def connections_within(descriptors: int) -> int:
    """The most connections of clients for a process that may open so many files; at least one."""
    return max(1, descriptors - RESERVED_DESCRIPTORS)
