"""What can go wrong, and whether trying again can help.

    FlagentCdcError
    ├── InvalidInput                 a value given from outside; also a ValueError
    │   ├── InvalidEventId
    │   └── InvalidDatabaseUrl
    ├── InvalidPattern               not a regular expression of Java; also a ValueError
    ├── Unauthorized                 a credential is missing, wrong, expired or revoked; has `code`
    ├── UndecidedMatch               a regular expression was cut off before its answer was known
    ├── OutOfReach                   the log does not hold what was asked about; has `code`, and where it begins
    ├── TooBusy                      too much of this is under way already; has `retry_after_s`
    ├── SourceError                  where commits come from said no, or nothing
    │   ├── NatsError                NATS did
    │   │   ├── NatsUnavailable      not reachable, no quorum, no answer in time
    │   │   ├── NatsRefused          wrong credentials, a right is missing
    │   │   ├── NatsMismatch         the stream there is not made as the settings say
    │   │   ├── ForeignStream        the stream there is of another database
    │   │   └── Superseded           another relay has written to the stream
    │   └── DatabaseError            PostgreSQL did; has `sqlstate`
    │       ├── DatabaseUnavailable  not reachable, starting, shutting down, out of connections
    │       │   └── DatabaseSilent   reached, and no answer within the time for it
    │       ├── DatabaseRefused      wrong password, unknown database, missing right
    │       ├── LockNotAvailable     somebody else holds what we need; also deadlocks and timeouts
    │       ├── SchemaMissing        flagent_cdc is not installed there
    │       └── SchemaMismatch       flagent_cdc there is newer than this program, or the server is too old
    └── EmbeddedPostgresError        the embedded server could not be started
        └── DataDirectoryInUse

The root and what pure code raises stand in `cdc.core.errors`. Driver errors become these in `cdc.driver_errors`, once,
with the cause kept; nothing above catches `psycopg.Error`.
"""

from .core.errors import FlagentCdcError, InvalidEventId, InvalidInput, InvalidPattern, UndecidedMatch
from .core.log.position import Position

__all__ = [
    "DataDirectoryInUse",
    "DatabaseError",
    "DatabaseRefused",
    "DatabaseSilent",
    "DatabaseUnavailable",
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
    """The database URL cannot be read."""

    def __init__(self, message: str, *, name: str = "FLAGENT_CDC_DATABASE_URL") -> None:
        super().__init__(message, name=name, code="invalid_database_url")


class Unauthorized(FlagentCdcError):
    """This credential is not accepted.

    `code` is a stable word for programs; the message never holds the credential.
    """

    def __init__(self, message: str | None = None, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class OutOfReach(FlagentCdcError):
    """The log does not hold what was asked about.

    `code` is a stable word for programs: `pruned`, `log_replaced`, `ahead`, `too_far_back`. `oldest` is the position
    of the first commit that can still be asked about, `oldest_at` its ISO-8601 time; None where there is none.
    """

    def __init__(
        self, message: str | None = None, *, code: str, oldest: Position | None = None, oldest_at: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.oldest = oldest
        self.oldest_at = oldest_at


class TooBusy(FlagentCdcError):
    """Too many ask for this at the same time."""

    retry_after_s = 1


class SourceError(FlagentCdcError):
    """Where commits and keys come from cannot be asked."""


class DatabaseError(SourceError):
    """The database answered with an error.

    `sqlstate` is PostgreSQL's five-character code, None where the server was not reached or gave none.
    """

    def __init__(self, message: str | None = None, *, sqlstate: str | None = None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class DatabaseUnavailable(DatabaseError):
    """The database cannot be reached."""


class DatabaseSilent(DatabaseUnavailable):
    """The database does not answer in time."""


class DatabaseRefused(DatabaseError):
    """The database refuses this login, database name or operation."""


class LockNotAvailable(DatabaseError):
    """Another transaction holds what is needed here."""


class SchemaMissing(DatabaseError):
    """flagent-cdc is not installed in this database; run `flagent-cdc migrate`."""


class SchemaMismatch(DatabaseError):
    """flagent-cdc and this database do not fit together."""


class NatsError(SourceError):
    """NATS answered with an error."""


class NatsUnavailable(NatsError):
    """NATS cannot be reached."""


class NatsRefused(NatsError):
    """NATS refuses these credentials, or this operation to them."""


class NatsMismatch(NatsError):
    """The stream is not made as the settings say."""


class ForeignStream(NatsError):
    """The stream is the copy of another log."""


class Superseded(NatsError):
    """Somebody else has written to the stream since it was read."""


class EmbeddedPostgresError(FlagentCdcError):
    """The embedded PostgreSQL could not be started."""


class DataDirectoryInUse(EmbeddedPostgresError):
    """Another process uses this data directory."""


# SQLSTATE, or its first two characters (the class), to the error. Source: PostgreSQL manual, appendix A.
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
    """The error that stands for a SQLSTATE; None is a connection that broke or never came about.

    >>> error_class("08006").__name__, error_class("28P01").__name__, error_class("XX000").__name__
    ('DatabaseUnavailable', 'DatabaseRefused', 'DatabaseError')
    """
    if sqlstate is None:
        return DatabaseUnavailable
    return _CLASSES.get(sqlstate) or _CLASSES.get(sqlstate[:2]) or DatabaseError


def is_retryable(error: BaseException) -> bool:
    """Whether the same call may succeed later without anybody changing anything; unknown means no."""
    return isinstance(error, DatabaseUnavailable | LockNotAvailable | NatsUnavailable | Superseded)
