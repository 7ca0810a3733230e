"""The tutorial's page of orders in a real browser: two tenants see what the tutorial says, after each of its steps."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.async_api import Page as BrowserPage
from playwright.async_api import expect
from psycopg.conninfo import conninfo_to_dict

from tests.docs.page import Page, read_page
from tests.docs.test_commands import PageRunner
from tests.fixtures.browser import Visits, needs_chromium

TUTORIAL = read_page(Path(__file__).parents[2] / "docs/tutorial/orders-in-the-browser.md")

# Each step of the tutorial ends with the next block that has this command.
STEPS = ("python shop.py", "values (7, 45.00)", "set tenant_id = 8", "status = 'paid'", "flagent-cdc serve")

pytestmark = [needs_chromium, pytest.mark.timeout(300)]

_RECORD = """() => {
    const body = document.querySelector("tbody");
    const record = () => [...body.rows].forEach((row) => window.shown.add(row.cells[0].textContent));
    window.shown = new Set();
    record();
    new MutationObserver(record).observe(body, { childList: true, subtree: true });
}"""


def steps() -> Iterator[Page]:
    """The tutorial in parts; the first begins with the page that it continues."""
    begin, continues = 0, TUTORIAL.continues
    for command in STEPS:
        end = next(n for n, block in enumerate(TUTORIAL.blocks, 1) if n > begin and command in block.commands[0].text)
        yield replace(TUTORIAL, blocks=TUTORIAL.blocks[begin:end], continues=continues)
        begin, continues = end, None


@pytest.fixture
def runner(flagent_url: str, tmp_path: Path, open_directory: Path) -> Iterator[PageRunner]:
    url = "postgresql://{user}:{password}@{host}:{port}/{dbname}".format(**conninfo_to_dict(flagent_url))
    with ExitStack() as stack:
        yield PageRunner(stack, url, tmp_path, open_directory / "data")


async def shows(page: BrowserPage, *orders: str) -> None:
    await expect(page.locator("tbody tr")).to_have_text(orders)
    await expect(page.locator("output")).to_have_text("live")


async def test_each_tenant_sees_its_own_orders_arrive_and_leave(runner: PageRunner, visits: Visits) -> None:
    prepare, insert, change_owner, change_without_server, start_again = steps()
    await asyncio.to_thread(runner.run, prepare)
    shop = runner.substituted("http://127.0.0.1:3000")
    ann, bob = [await visits.open(f"{shop}/?as={visitor}") for visitor in ("ann", "bob")]
    await shows(ann, "1open12.50", "3open8.00")
    await shows(bob, "2open99.90")
    for page in (ann, bob):
        await page.evaluate(_RECORD)

    await asyncio.to_thread(runner.run, insert)
    await shows(ann, "1open12.50", "3open8.00", "4open45.00")

    await asyncio.to_thread(runner.run, change_owner)
    await shows(ann, "3open8.00", "4open45.00")
    await shows(bob, "1moved12.50", "2open99.90")
    # Order 4 was committed before order 1 moved, so Bob's page would have shown it by now.
    assert sorted(await bob.evaluate("[...window.shown]")) == ["1", "2"]
    assert sorted(await ann.evaluate("[...window.shown]")) == ["1", "3", "4"]

    # The browser reports the stream that has ended and the requests that fail meanwhile.
    visits.expect_error("net::ERR_|status of 503")
    await asyncio.to_thread(runner.run, change_without_server)
    await expect(ann.locator("output")).to_have_text("not connected")
    await expect(ann.locator("tbody tr")).to_have_text(["3open8.00", "4open45.00"])
    await asyncio.to_thread(runner.run, start_again)
    await shows(ann, "3paid8.00", "4open45.00")
    await shows(bob, "1moved12.50", "2open99.90")

    # Eve belongs to no tenant, so the application asks for no token.
    visits.expect_error("status of 403")
    eve = await visits.open("about:blank")
    async with eve.expect_response(lambda answer: answer.status == 403):
        await eve.goto(f"{shop}/?as=eve")
    await expect(eve.locator("output")).to_have_text("not connected")
    await expect(eve.locator("tbody tr")).to_have_count(0)
