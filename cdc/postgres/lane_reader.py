"""The lanes in PostgreSQL: which tables are watched, and in which lane each is."""

from ..core.log.lane import Lane, WatchedTable
from ..core.log.table_column import TableColumn
from ..database.queries import query
from ..database.read_session import ReadSession

__all__ = ["LaneReader"]


class LaneReader:
    """The port `LaneDirectory` of a database."""

    def __init__(self, url: str) -> None:
        self._session = ReadSession(url)

    async def watched_lanes(self) -> list[WatchedTable]:
        async with self._session.use() as connection:
            rows = await (await connection.execute(query("watched_lanes"))).fetchall()
        return [
            WatchedTable(schema, table, Lane(name, id, order), tuple(TableColumn.of_json(raw) for raw in columns or ()))
            for schema, table, name, id, order, columns in rows
        ]

    def shutdown_socket(self) -> None:
        """Make every call that waits for an answer fail now."""
        self._session.shutdown_socket()

    async def close(self) -> None:
        await self._session.close()
