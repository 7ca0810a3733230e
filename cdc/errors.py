"""The errors of flagent-cdc, and whether a retry can help.

    FlagentCdcError
    ├── InvalidInput                 invalid input; also a ValueError
    │   ├── InvalidEventId
    │   └── InvalidDatabaseUrl
    ├── InvalidPattern               invalid Java regular expression; also a ValueError
    ├── Unauthorized                 a credential is missing, wrong, expired or revoked; has `code`
    ├── UndecidedMatch               a regular expression exceeded its limits before its match was decided
    ├── OutOfReach                   the change log does not hold what was requested; has `code`, and its beginning
    ├── TooBusy                      too many requests of this kind are running; has `retry_after_s`
    ├── SourceError                  the source of commits failed
    │   ├── NatsError                NATS failed
    │   │   ├── NatsUnavailable      not reachable, no quorum, no answer in time
    │   │   ├── NatsRefused          invalid credentials, missing right
    │   │   ├── NatsMismatch         the JetStream stream differs from the settings
    │   │   ├── ForeignStream        the JetStream stream belongs to another database
    │   │   └── Superseded           another relay has written to the JetStream stream
    │   └── DatabaseError            PostgreSQL failed; has `sqlstate`
    │       ├── DatabaseUnavailable  not reachable, starting, shutting down, out of connections
    │       │   └── DatabaseSilent   reached, but no answer in time
    │       ├── DatabaseRefused      wrong password, unknown database, missing right
    │       ├── LockNotAvailable     another transaction holds the lock; also deadlocks and timeouts
    │       ├── EarlierTimeline      an old primary, which does not hold what was seen already
    │       ├── SchemaMissing        flagent_cdc is not installed
    │       └── SchemaMismatch       flagent_cdc is newer than this program, or the server too old
    └── EmbeddedPostgresError        the embedded server could not be started
        └── DataDirectoryInUse

`cdc.core.errors` defines the root and the errors of the core. `cdc.database.driver_errors` translates driver errors,
once, and keeps the cause; no other code catches `psycopg.Error`.
"""

from .core.errors import FlagentCdcError, InvalidEventId, InvalidInput, InvalidPattern, UndecidedMatch
from .core.log.position import Position

__all__ = [
    "DataDirectoryInUse",
    "DatabaseError",
    "DatabaseRefused",
    "DatabaseSilent",
    "DatabaseUnavailable",
    "EarlierTimeline",
    "EmbeddedPostgresError",
    "FlagentCdcError",
    "ForeignStream",
    "InvalidDatabaseUrl",
    "InvalidEventId",
    "InvalidInput",
    "InvalidPattern",
    "LockNotAvailable",
    "NatsError",
    "NatsMismatch",
    "NatsRefused",
    "NatsUnavailable",
    "OutOfReach",
    "SchemaMismatch",
    "SchemaMissing",
    "SourceError",
    "Superseded",
    "TooBusy",
    "Unauthorized",
    "UndecidedMatch",
    "error_class",
    "is_retryable",
]


class InvalidDatabaseUrl(InvalidInput):
    """The database URL is invalid."""

    def __init__(self, message: str, *, name: str = "FLAGENT_CDC_DATABASE_URL") -> None:
        super().__init__(message, name=name, code="invalid_database_url")


class Unauthorized(FlagentCdcError):
    """This credential is not accepted.

    `code` is a stable error code; the message never contains the credential.
    """

    def __init__(self, message: str | None = None, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class OutOfReach(FlagentCdcError):
    """The change log does not hold what was requested.

    `code` is a stable error code: `pruned`, `log_replaced`, `ahead`, `too_far_back`. `oldest` is the position of the
    oldest commit that can be requested, `oldest_at` its ISO-8601 time; None if there is none.
    """

    def __init__(
        self, message: str | None = None, *, code: str, oldest: Position | None = None, oldest_at: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.oldest = oldest
        self.oldest_at = oldest_at


class TooBusy(FlagentCdcError):
    """Too many requests of this kind are running; retry in a second."""

    retry_after_s = 1


class SourceError(FlagentCdcError):
    """The source of commits and API keys failed."""


class DatabaseError(SourceError):
    """The database answered with an error.

    `sqlstate` is PostgreSQL's five-character code, None if the server was not reached or sent none.
    """

    def __init__(self, message: str | None = None, *, sqlstate: str | None = None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class DatabaseUnavailable(DatabaseError):
    """The database cannot be reached."""


class DatabaseSilent(DatabaseUnavailable):
    """The database did not answer in time."""


class DatabaseRefused(DatabaseError):
    """The database refuses this login, database name or operation."""


class EarlierTimeline(DatabaseError):
    """The database is on an earlier timeline than one that was followed already: an old primary that has come back."""


class LockNotAvailable(DatabaseError):
    """Another transaction holds a lock that is needed here."""


class SchemaMissing(DatabaseError):
    """flagent-cdc is not installed in this database; run `flagent-cdc migrate`."""


class SchemaMismatch(DatabaseError):
    """The installation in this database does not match this version of flagent-cdc."""


class NatsError(SourceError):
    """NATS answered with an error."""


class NatsUnavailable(NatsError):
    """NATS cannot be reached."""


class NatsRefused(NatsError):
    """NATS refuses these credentials, or this operation to them."""


class NatsMismatch(NatsError):
    """The JetStream stream differs from the settings."""


class ForeignStream(NatsError):
    """The JetStream stream holds another change log."""


class Superseded(NatsError):
    """Another relay has written to the JetStream stream since it was read."""


class EmbeddedPostgresError(FlagentCdcError):
    """The embedded PostgreSQL could not be started."""


class DataDirectoryInUse(EmbeddedPostgresError):
    """Another process uses this data directory."""


# SQLSTATE, or its first two characters (its class), to the error. Source: PostgreSQL manual, appendix A.
_CLASSES: dict[str, type[DatabaseError]] = {
    "08": DatabaseUnavailable,  # connection exception
    "53300": DatabaseUnavailable,  # too many connections
    "57P01": DatabaseUnavailable,  # admin shutdown
    "57P02": DatabaseUnavailable,  # crash shutdown
    "57P03": DatabaseUnavailable,  # cannot connect now: starting, or stopping
    "57P05": DatabaseUnavailable,  # idle session timeout
    "25006": DatabaseUnavailable,  # read-only transaction: a failover left us on a standby
    "28": DatabaseRefused,  # invalid authorization
    "3D000": DatabaseRefused,  # unknown database
    "42501": DatabaseRefused,  # insufficient privilege
    "55P03": LockNotAvailable,  # lock not available
    "40P01": LockNotAvailable,  # deadlock detected
    "40001": LockNotAvailable,  # serialization failure
    "57014": LockNotAvailable,  # query cancelled, by statement_timeout too
    "3F000": SchemaMissing,  # unknown schema
    "42P01": SchemaMissing,  # unknown table
    "42883": SchemaMissing,  # unknown function
}


def error_class(sqlstate: str | None) -> type[DatabaseError]:
    """The error class for a SQLSTATE; None means that the connection failed.

    >>> error_class("08006").__name__, error_class("28P01").__name__, error_class("XX000").__name__
    ('DatabaseUnavailable', 'DatabaseRefused', 'DatabaseError')
    """
    if sqlstate is None:
        return DatabaseUnavailable
    return _CLASSES.get(sqlstate) or _CLASSES.get(sqlstate[:2]) or DatabaseError


def is_retryable(error: BaseException) -> bool:
    """Whether a retry of the same call may succeed; unknown errors are fatal."""
    return isinstance(error, DatabaseUnavailable | EarlierTimeline | LockNotAvailable | NatsUnavailable | Superseded)
