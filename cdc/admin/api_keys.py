"""Creates, lists and revokes API keys in the database, and rotates the secret of stream tokens.

Called by people, so each call opens a session.
"""

from datetime import datetime

from psycopg.types.json import Jsonb

from ..auth.api_key import ApiKey, new_key
from ..core.subscription.grant import Grant
from ..database.database_url import read_database_url, redact
from ..database.driver_errors import driver_errors
from ..database.lock_retry import connect
from ..database.queries import query
from ..errors import InvalidInput

__all__ = ["create_key", "list_keys", "revoke_key", "rotate_secret"]


def create_key(url: str, name: str, grant: Grant, expires_at: datetime | None = None) -> str:
    """Create a key and return its text, which cannot be recovered later: only its hash is stored."""
    key = new_key()
    conninfo = read_database_url(url)
    with driver_errors(redact(conninfo)), connect(conninfo) as connection:
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
    conninfo = read_database_url(url)
    with driver_errors(redact(conninfo)), connect(conninfo) as connection:
        rows = connection.execute(query("keys")).fetchall()
    return [
        ApiKey(id, name, prefix, bytes(hash), Grant.parse(scopes), created_at, expires_at, revoked_at)
        for id, name, prefix, hash, scopes, created_at, expires_at, revoked_at in rows
    ]


def revoke_key(url: str, which: str) -> tuple[str, bool]:
    """Revoke a key, named by its id, its prefix or its whole text; its prefix, and whether it was active until now.

    Raises `InvalidInput` if there is no such key.
    """
    conninfo = read_database_url(url)
    with driver_errors(redact(conninfo)), connect(conninfo) as connection:
        id: int | None = int(which) if which.isascii() and which.isdigit() and len(which) < 10 else None
        if id is None:
            found = connection.execute(query("key_id"), {"prefix": which[:16]}).fetchone()
            id = None if found is None else int(found[0])
        revoked = None if id is None else connection.execute(query("revoke_key"), {"id": id}).fetchone()
    if revoked is None:
        # Does not repeat the input, which may be a secret key.
        raise InvalidInput("there is no such key; `flagent-cdc keys list` shows all", name="key", code="unknown_key")
    return str(revoked[0]), bool(revoked[1])


def rotate_secret(url: str) -> None:
    """Replace the secret that signs stream tokens; the previous one verifies them for one more minute."""
    conninfo = read_database_url(url)
    with driver_errors(redact(conninfo)), psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(query("rotate_token_secret"))
