"""Event triggers of the database's owner run with every schema change, and may refuse those of a command."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from ..database.database_url import redact
from ..database.driver_errors import translate
from ..database.lock_retry import connect
from ..database.queries import query
from ..errors import DatabaseError

__all__ = ["naming_event_triggers"]

_RAISED = "P0001"  # by a program of a user's, and by none of ours


@contextmanager
def naming_event_triggers(conninfo: str) -> Iterator[None]:
    """For `with` around schema changes: where an event trigger refused one, the error says which, and how to go on."""
    try:
        yield
    except psycopg.Error as error:
        names = _that_refused(conninfo, error)
        if not names:
            raise
        ours = translate(error, redact(conninfo))
        raise DatabaseError(
            f"{ours}; an event trigger of the database refused the change: "
            + ", ".join(f"alter event trigger {name} disable" for name in names)
            + ", run this again, and enable it again",
            sqlstate=error.sqlstate,
        ) from error


def _that_refused(conninfo: str, error: psycopg.Error) -> list[str]:
    """The enabled event triggers whose function is in the error's context; all of them where it does not say."""
    if error.sqlstate is None:
        return []
    with connect(conninfo) as connection:
        enabled = connection.execute(query("event_triggers")).fetchall()
    context = error.diag.context or ""
    named = [name for name, function in enabled if f"{function}()" in context]
    return named or ([name for name, _ in enabled] if error.sqlstate == _RAISED else [])
