"""A copy of the catalog goes back page by page, and says where it cannot."""

from collections.abc import Sequence

import pytest

from cdc.core.flags.catalog import Catalog
from cdc.core.flags.flag_tables import TABLES
from cdc.core.log.change import Change, Commit, Op
from cdc.core.log.position import Position
from cdc.errors import OutOfReach
from cdc.history.rewind import refuse_before_attachment, rewound
from cdc.source.memory import MemoryLog
from tests.fixtures.memory import MemoryWriter


async def scene(commits: int) -> tuple[MemoryLog, Catalog]:
    log = MemoryLog()
    writer = MemoryWriter(log)
    for number in range(commits):
        writer.flag(f"f{number + 1}")
    return log, (await log.bootstrap()).catalog()


async def back(catalog: Catalog, log: MemoryLog, down_to: int, limit: int = 1000) -> list[int]:
    return [each.position async for each in rewound(catalog, log.commits_before, Position(down_to), limit)]


@pytest.mark.parametrize("page", [1, 2, 100])
async def test_each_commit_is_undone_newest_first(page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdc.history.rewind._PAGE_CHANGES", page)
    log, catalog = await scene(5)
    assert await back(catalog, log, 2) == [5, 4, 3]
    assert catalog.position == 2
    assert [flag["key"] for _, flag in catalog.flags()] == ["f1", "f2"]


async def test_where_nothing_happened_since_only_the_position_changes() -> None:
    log, catalog = await scene(2)
    log.skip()
    catalog.position = Position(3)
    assert await back(catalog, log, 2) == []
    assert catalog.position == 2


async def test_the_way_is_limited_in_changes_by_whole_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdc.history.rewind._PAGE_CHANGES", 2)
    log, catalog = await scene(10)
    with pytest.raises(OutOfReach, match=r"more than 3 changes back.*position 6 is within reach") as caught:
        await back(catalog, log, 0, limit=3)
    assert caught.value.code == "too_far_back"


async def test_before_its_attachment_nothing_is_known_of_a_schema() -> None:
    log = MemoryLog(("public", "tenant"))
    log.commit(*(Change("tenant", table, Op.TRUNCATE, None, None) for table in TABLES))
    catalog = (await log.bootstrap()).catalog()

    async def go_back(needs: Sequence[str] | None) -> Catalog:
        past = catalog.copy()
        async for _ in rewound(past, log.commits_before, Position(0), 1000, needs=needs):
            pass
        return past

    for needs in (None, ["tenant"]):
        with pytest.raises(OutOfReach, match="the schema tenant was attached at position 1") as caught:
            await go_back(needs)
        assert (caught.value.code, caught.value.oldest) == ("pruned", 1)
    past = await go_back(["public"])
    assert past.position == 0
    refuse_before_attachment(past, "public")
    with pytest.raises(OutOfReach):
        refuse_before_attachment(past, "tenant")


async def test_what_reading_raises_ends_it() -> None:
    _, catalog = await scene(2)

    async def read(position: Position, down_to: Position, limit: int) -> Sequence[Commit]:
        raise OutOfReach("gone", code="pruned")

    with pytest.raises(OutOfReach, match="gone"):
        async for _ in rewound(catalog, read, Position(0), 10):
            pass
