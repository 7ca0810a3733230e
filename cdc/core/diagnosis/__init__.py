"""Diagnosis of a set-up: facts go in, findings come out.

`facts` defines the input, `finding` the output, and each other module checks one part. The package does no I/O, so
every check is tested without a database.
"""

from .capture import check_capture
from .facts import (
    CertificateFacts,
    DatabaseFacts,
    Function,
    InstallationFacts,
    KeyFacts,
    LogFacts,
    MachineFacts,
    Prepared,
    RelayFacts,
    RoleFacts,
    ServerFacts,
    Session,
    SnapshotFacts,
    StreamFacts,
    TierFacts,
    Trigger,
    UnreadableFacts,
)
from .finding import Finding, Limits, State, exit_code
from .function_text import function_in
from .log import check_log
from .machine import check_machine
from .server import check_server
from .sessions import check_sessions
from .tier import check_tier

__all__ = [
    "CertificateFacts",
    "DatabaseFacts",
    "Finding",
    "Function",
    "InstallationFacts",
    "KeyFacts",
    "Limits",
    "LogFacts",
    "MachineFacts",
    "Prepared",
    "RelayFacts",
    "RoleFacts",
    "ServerFacts",
    "Session",
    "SnapshotFacts",
    "State",
    "StreamFacts",
    "TierFacts",
    "Trigger",
    "UnreadableFacts",
    "check_database",
    "check_machine",
    "check_server",
    "check_tier",
    "exit_code",
    "function_in",
]


def check_database(facts: DatabaseFacts, limits: Limits) -> list[Finding]:
    """Check a database that answered; findings come in the order in which to fix them."""
    return [*check_sessions(facts, limits), *check_capture(facts), *check_log(facts, limits)]
