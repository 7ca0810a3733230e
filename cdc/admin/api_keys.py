"""Creates, lists and revokes API keys in the database, reads their audit log, and rotates the secret of stream tokens.

Called by people, so each call opens a session.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from psycopg.types.json import Jsonb

from ..auth.api_key import ApiKey, new_key, readable_grant
from ..core.subscription.grant import Grant
from ..database.database_url import read_database_url, redact
from ..database.driver_errors import driver_errors
from ..database.lock_retry import Connection, changing, connect, require_primary
from ..database.queries import query
from ..errors import InvalidInput

__all__ = [
    "AuditEntry",
    "KeyUsage",
    "create_key",
    "list_keys",
    "list_usage",
    "read_audit",
    "revoke_key",
    "rotate_secret",
]


@dataclass(frozen=True, slots=True)
class KeyUsage:
    """A key, since when its use is recorded, and its last use since then."""

    key: ApiKey
    recorded_since: datetime
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An entry of the audit log; see `flagent_cdc.api_key_audit`. `prefix` and `name` are those of the key then."""

    happened_at: datetime
    action: str
    prefix: str | None
    name: str | None
    actor: str
    reason: str | None
    count: int


def create_key(url: str, name: str, grant: Grant, expires_at: datetime | None = None) -> str:
    """Create a key and return its text, which cannot be recovered later: only its hash is stored."""
    key = new_key()
    with _changing(url) as connection:
        connection.execute(
            query("create_key"),
            {
                "name": name,
                "prefix": key.prefix,
                "hash": key.hash,
                "scopes": Jsonb(grant.to_json()),
                "expires_at": expires_at,
            },
        )
    return key.text


def list_keys(url: str) -> list[ApiKey]:
    """Every key in the order of creation, including expired and revoked ones."""
    return [usage.key for usage in list_usage(url)]


def list_usage(url: str) -> list[KeyUsage]:
    """The same, with their use."""
    with _connected(url) as connection:
        rows = connection.execute(query("keys_with_use")).fetchall()
    return [
        KeyUsage(
            ApiKey(id, name, prefix, bytes(hash), readable_grant(prefix, scopes), created_at, expires_at, revoked_at),
            recorded_since,
            last_used_at,
        )
        for id, name, prefix, hash, scopes, created_at, expires_at, revoked_at, recorded_since, last_used_at in rows
    ]


def read_audit(url: str, limit: int) -> list[AuditEntry]:
    """The newest entries of the audit log, the oldest of them first."""
    with _connected(url) as connection:
        return [AuditEntry(*row) for row in connection.execute(query("key_audit"), {"limit": limit}).fetchall()]


def rotate_secret(url: str) -> None:
    """Replace the secret that signs stream tokens; the previous one verifies them for one more minute."""
    with _changing(url) as connection:
        connection.execute(query("rotate_token_secret"))


def revoke_key(url: str, which: str) -> tuple[str, bool]:
    """Revoke a key, named by its id, its prefix or its whole text; its prefix, and whether it was active until now.

    Raises `InvalidInput` if there is no such key.
    """
    with _changing(url) as connection:
        id: int | None = int(which) if which.isascii() and which.isdigit() and len(which) < 10 else None
        if id is None:
            found = connection.execute(query("key_id"), {"prefix": which[:16]}).fetchone()
            id = None if found is None else int(found[0])
        revoked = None if id is None else connection.execute(query("revoke_key"), {"id": id}).fetchone()
    if revoked is None:
        # Does not repeat the input, which may be a secret key.
        raise InvalidInput("there is no such key; `flagent-cdc keys list` shows all", name="key", code="unknown_key")
    return str(revoked[0]), bool(revoked[1])


@contextmanager
def _changing(url: str) -> Iterator[Connection]:
    with _connected(url) as connection:
        require_primary(connection, read_database_url(url))
        with changing(connection):
            yield connection


@contextmanager
def _connected(url: str) -> Iterator[Connection]:
    conninfo = read_database_url(url)
    with driver_errors(redact(conninfo)), connect(conninfo) as connection:
        yield connection
