"""Counts of exposures in PostgreSQL."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from ..core.exposure import ExposureKey, MinuteCount
from ..database.queries import query
from ..database.read_session import ReadSession

__all__ = ["ExposureTables"]


_FOR_EVER_S = 1e9


class ExposureTables:
    """The port `ExposureStore` of a database; counts are kept for `keep_s`, None for ever."""

    def __init__(self, url: str, keep_s: float | None) -> None:
        self._session = ReadSession(url)
        self._keep_s = _FOR_EVER_S if keep_s is None else keep_s

    async def record(self, counts: Mapping[ExposureKey, int]) -> None:
        given = {
            "schemas": [key.schema for key in counts],
            "flags": [key.flag for key in counts],
            "variants": [key.variant or "" for key in counts],
            "counts": list(counts.values()),
            "keep_s": self._keep_s,
        }
        # One statement in autocommit: sessions that read may call a function that writes.
        async with self._session.use() as connection:
            await connection.execute(query("record_exposures"), given)

    async def usage(
        self, schema: str, flag: str, since: datetime, until: datetime, limit: int
    ) -> Sequence[MinuteCount]:
        given = {"schema": schema, "flag": flag, "since": since, "until": until, "limit": limit}
        async with self._session.use() as connection:
            rows = await (await connection.execute(query("usage"), given)).fetchall()
        return [
            MinuteCount(minute.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), variant or None, count)
            for minute, variant, count in rows
        ]

    async def close(self) -> None:
        await self._session.close()
