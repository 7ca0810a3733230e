"""Turns flags on and off for the demo's page, with the statement that a person would type."""

import psycopg

from cdc.database.connection import connect
from cdc.database.database_url import read_database_url, redact
from cdc.database.driver_errors import driver_errors
from cdc.database.queries import query

__all__ = ["FlagSwitch"]


class FlagSwitch:
    """A short connection for each change: a person clicks rarely, and nothing is open when processes are forked."""

    def __init__(self, url: str, schema: str) -> None:
        self._conninfo = read_database_url(url)
        self._schema = schema

    async def set_enabled(self, key: str, *, enabled: bool) -> bool:
        """Turn the flag on or off; False if there is no such flag. Raises `DatabaseError`."""
        connection = await connect(self._conninfo, name="demo switch")
        try:
            with driver_errors(redact(self._conninfo)):
                await connection.execute("select set_config('search_path', %s, false)", (self._quoted_schema(),))
                found = await connection.execute(query("demo_switch"), {"key": key, "enabled": enabled})
                return found.rowcount > 0
        finally:
            await connection.close()

    def _quoted_schema(self) -> str:
        return psycopg.sql.Identifier(self._schema).as_string(None)
