"""The errors: their tree, their default messages, and which of them a retry can cure."""

import inspect

import pytest

from cdc import errors
from cdc.core.log.position import Position
from cdc.errors import (
    DatabaseError,
    DatabaseRefused,
    DatabaseSilent,
    DatabaseUnavailable,
    DataDirectoryInUse,
    FlagentCdcError,
    InvalidDatabaseUrl,
    LockNotAvailable,
    NatsMismatch,
    NatsRefused,
    NatsUnavailable,
    OutOfReach,
    SchemaMissing,
    Superseded,
    TooBusy,
    Unauthorized,
    error_class,
    is_retryable,
)

CLASSES = [one for one in vars(errors).values() if inspect.isclass(one) and issubclass(one, FlagentCdcError)]


def test_the_docstring_draws_every_class_under_its_base() -> None:
    drawn: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").split("\n"):
        if "── " not in line and line.strip() != "FlagentCdcError":
            continue
        indent, _, rest = line.rpartition("── ") if "── " in line else ("", "", line.strip())
        depth = (len(indent) - 4 + 3) // 4 if indent else 0
        name = rest.split()[0]
        path[depth:] = [name]
        if depth:
            drawn[name] = path[depth - 1]
    real = {one.__name__: one.__bases__[0].__name__ for one in CLASSES if one is not FlagentCdcError}
    assert drawn == real


def test_every_error_is_exported() -> None:
    assert {one.__name__ for one in CLASSES} <= set(errors.__all__)


@pytest.mark.parametrize("error", [one for one in CLASSES if issubclass(one, errors.SourceError)])
def test_the_docstring_is_the_default_message(error: type[FlagentCdcError]) -> None:
    assert str(error()) == (error.__doc__ or "").strip()


@pytest.mark.parametrize(
    ("sqlstate", "expected"),
    [
        (None, DatabaseUnavailable),
        ("08006", DatabaseUnavailable),
        ("53300", DatabaseUnavailable),
        ("53200", DatabaseError),
        ("57P01", DatabaseUnavailable),
        ("57P03", DatabaseUnavailable),
        ("25006", DatabaseUnavailable),
        ("28P01", DatabaseRefused),
        ("3D000", DatabaseRefused),
        ("42501", DatabaseRefused),
        ("55P03", LockNotAvailable),
        ("40001", LockNotAvailable),
        ("57014", LockNotAvailable),
        ("42P01", SchemaMissing),
        ("42883", SchemaMissing),
        ("42601", DatabaseError),
        ("XX000", DatabaseError),
    ],
)
def test_a_sqlstate_becomes_an_error(sqlstate: str | None, expected: type[DatabaseError]) -> None:
    assert error_class(sqlstate) is expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (DatabaseUnavailable(), True),
        (DatabaseSilent(), True),
        (LockNotAvailable(), True),
        (NatsUnavailable(), True),
        (Superseded(), True),
        (DatabaseRefused(), False),
        (DatabaseError(), False),
        (SchemaMissing(), False),
        (NatsRefused(), False),
        (NatsMismatch(), False),
        (DataDirectoryInUse(), False),
        (ValueError(), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_unknown_errors_are_fatal(error: BaseException, expected: bool) -> None:
    assert is_retryable(error) is expected


def test_data_is_in_attributes() -> None:
    reach = OutOfReach(code="pruned", oldest=Position(7), oldest_at="2026-11-23T08:00:00Z")
    assert (reach.code, reach.oldest, reach.oldest_at) == ("pruned", 7, "2026-11-23T08:00:00Z")
    assert (OutOfReach(code="ahead").oldest, OutOfReach(code="ahead").oldest_at) == (None, None)
    assert (Unauthorized(code="credential_missing").code, TooBusy().retry_after_s) == ("credential_missing", 1)
    assert DatabaseError("gone", sqlstate="57P01").sqlstate == "57P01"
    url = InvalidDatabaseUrl("no host")
    assert (url.name, url.code) == ("FLAGENT_CDC_DATABASE_URL", "invalid_database_url")
