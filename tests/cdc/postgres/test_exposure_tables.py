"""Counts of exposures in the database."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from cdc.core.exposure import ExposureKey
from cdc.errors import SourceError
from cdc.postgres.exposure_tables import ExposureTables


async def test_counts_of_a_minute_add_up(database_url: str) -> None:
    tables, now = ExposureTables(database_url, None), datetime.now(UTC)
    on, none = ExposureKey("public", "a", "on"), ExposureKey("public", "a", None)
    try:
        await tables.record({on: 2, none: 1, ExposureKey("other", "a", "on"): 9})
        await tables.record({none: 4, on: 1})
        found = await tables.usage("public", "a", now - timedelta(minutes=2), now + timedelta(minutes=2), 10)
        totals: dict[str | None, int] = {}
        for each in found:
            totals[each.variant] = totals.get(each.variant, 0) + each.count
        assert totals == {"on": 3, None: 5}
        assert len(await tables.usage("public", "a", now - timedelta(minutes=2), now + timedelta(minutes=2), 1)) == 1
    finally:
        await tables.close()


async def test_without_the_table_it_is_an_error_of_the_source(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("drop table flagent_cdc.exposure")
    tables = ExposureTables(database_url, None)
    try:
        with pytest.raises(SourceError):
            await tables.record({ExposureKey("public", "a", "on"): 1})
    finally:
        await tables.close()
