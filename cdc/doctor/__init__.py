"""Collects the facts for `cdc.core.diagnosis`: from the database, this machine, a server, and NATS.

The doctor changes nothing: statements run in read-only transactions, and requests only read.
"""

from .database import LogIdentity, read_database, read_keys, read_log_identity
from .machine import read_machine
from .server import Target, read_server
from .tier import read_tier

__all__ = [
    "LogIdentity",
    "Target",
    "read_database",
    "read_keys",
    "read_log_identity",
    "read_machine",
    "read_server",
    "read_tier",
]
