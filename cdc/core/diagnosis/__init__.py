"""Diagnosis of a set-up: facts go in, findings come out.

`facts` defines the input, `finding` the output, and each other module checks one part. The package does no I/O, so every check
is tested without a database.
"""

from .capture import judge_capture
from .facts import (
    CertificateFacts,
    DatabaseFacts,
    Function,
    InstallationFacts,
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
)
from .finding import Finding, Limits, State, exit_code
from .function_text import function_in
from .log import judge_log
from .machine import judge_machine
from .server import judge_server
from .sessions import judge_sessions
from .tier import judge_tier

__all__ = [
    "CertificateFacts",
    "DatabaseFacts",
    "Finding",
    "Function",
    "InstallationFacts",
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
    "exit_code",
    "function_in",
    "judge_database",
    "judge_machine",
    "judge_server",
    "judge_tier",
]


def judge_database(facts: DatabaseFacts, limits: Limits) -> list[Finding]:
    """Check a database that answered; findings come in the order in which to fix them."""
    return [*judge_sessions(facts, limits), *judge_capture(facts), *judge_log(facts, limits)]
