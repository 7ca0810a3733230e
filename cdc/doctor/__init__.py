"""Gathers what `cdc.core.diagnosis` judges: the database, this machine, a server's address, and NATS.

Nothing in here changes anything: statements run in transactions that are read only, and requests only read.
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
