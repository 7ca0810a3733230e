"""What a newcomer sees on the page: nothing that looks like more than it is, and what the demo lets them switch."""

import re
from collections.abc import Iterator

import pytest
from playwright.async_api import expect
from psycopg.conninfo import conninfo_to_dict

from cdc.demo.flag_switch import FlagSwitch
from tests.api.page.test_page import is_live, row
from tests.fixtures.browser import Visits, needs_chromium
from tests.fixtures.flags import Writer
from tests.fixtures.server import RunningServer, serving

pytestmark = needs_chromium


@pytest.fixture
def writer(database_url: str) -> Iterator[Writer]:
    with Writer(database_url) as writer:
        yield writer


async def test_the_demo_switches_flags_and_others_only_show_them(
    server: RunningServer, database_url: str, writer: Writer, visits: Visits
) -> None:
    writer.flag("checkout", enabled=True)
    page = await visits.open(server.url)
    await row(page, "checkout").click()
    await expect(page.locator("#flag h2 .lever")).to_have_text("on")
    await expect(page.locator("#flag h2 button")).to_have_count(0)
    parts = conninfo_to_dict(database_url)
    url = "postgresql://{user}:{password}@{host}:{port}/{dbname}".format(**parts)
    async with serving(database_url, switch=FlagSwitch(url, "public")) as demo:
        page = await visits.open(demo.url)
        await row(page, "checkout").click()
        lever = page.get_by_role("switch", name="Turn this flag off")
        await expect(lever).to_have_attribute("aria-checked", "true")
        await lever.click()
        await expect(page.get_by_role("switch", name="Turn this flag on")).to_have_text("off")
        await expect(row(page, "checkout").locator(".lever")).to_have_text("off")
        await expect(page.locator("#flag")).to_have_class(re.compile("is-off"))
        # Before its server ends: it would try to connect again, and say in the console that it cannot.
        await page.context.close()


async def test_a_flag_that_never_existed_is_not_called_deleted(
    server: RunningServer, writer: Writer, visits: Visits
) -> None:
    visits.expect_error("status of 404")
    flag = writer.flag("gone")
    writer.run(f"delete from flags where id = {flag}")
    page = await visits.open(f"{server.url}/#flag/never")
    await expect(page.locator("#flag h2 .badge")).to_have_text("no such flag")
    page = await visits.open(f"{server.url}/#flag/gone")
    await expect(page.locator("#flag h2 .badge")).to_have_text("deleted")


async def test_no_match_stands_under_the_search_field(server: RunningServer, writer: Writer, visits: Visits) -> None:
    writer.flag("checkout")
    page = await visits.open(server.url)
    await is_live(page)
    await page.fill("#search", "nothing like it")
    none = page.locator("#flag-none")
    await expect(none).to_have_text("No flag matches.")
    below = await none.bounding_box()
    field = await page.locator("#search").bounding_box()
    assert below is not None
    assert field is not None
    assert below["y"] - (field["y"] + field["height"]) < 60


async def test_the_evaluation_starts_with_the_open_flag(server: RunningServer, writer: Writer, visits: Visits) -> None:
    writer.flag("checkout")
    page = await visits.open(server.url)
    await row(page, "checkout").click()
    await page.click("#tab-evaluate")
    await expect(page.locator("#evaluate-key")).to_have_value("checkout")
    await expect(page.locator("#evaluate-at")).to_have_attribute("placeholder", re.compile("2026-11-23 12:00"))


async def test_a_long_description_is_shown_on_demand(server: RunningServer, writer: Writer, visits: Visits) -> None:
    writer.flag("checkout", description="word " * 300)
    page = await visits.open(server.url)
    await row(page, "checkout").click()
    about = page.locator("#flag .about")
    cut = await about.bounding_box()
    await page.get_by_role("button", name="show more").click()
    await expect(page.get_by_role("button", name="show less")).to_have_attribute("aria-expanded", "true")
    whole = await about.bounding_box()
    assert cut is not None
    assert whole is not None
    assert whole["height"] > 2 * cut["height"]


async def test_few_events_have_no_percentile(server: RunningServer, writer: Writer, visits: Visits) -> None:
    flag = writer.flag("checkout")
    page = await visits.open(server.url)
    await is_live(page)
    writer.toggle(flag)
    await expect(page.locator("#timeline-summary")).to_have_text(re.compile(r"p50 [^,]*$"))
    await expect(page.locator("#instrument-latency")).to_have_text("–")
    for _ in range(12):
        writer.toggle(flag)
    await expect(page.locator("#timeline-summary")).to_have_text(re.compile("p95 "))
