"""Takes the pictures of the page that the documents show, from the demo.

    python -m tests.api.page.screenshots [DIRECTORY]

Into `docs/images`, or into a directory of your own to look at. It takes a good minute, so that the timeline is full;
the latencies in the pictures are those of the machine that it runs on.
"""

import asyncio
import random
import re
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import httpx
import psycopg
from playwright.async_api import Browser, Page

from cdc.cli.torture.port import lasting_port
from tests.fixtures.browser import browsing
from tests.fixtures.server import until

ROOT = Path(__file__).parents[3]

# A little more than the span of the timeline.
_FILLED_S = 64.0

_START_S = 60.0

_SHOP = """
create schema if not exists shop;
create table if not exists shop.orders (id bigint primary key, customer text, state text, total numeric, items jsonb);
select flagent_cdc.watch('shop.orders', mask => '{customer}');
"""

_ORDER = """
insert into shop.orders values (%s, 'a@example.org', 'placed', %s, '[{"sku": "A-113", "count": 2}]')
"""


class Shop(threading.Thread):
    """Orders, placed, paid and sent, in a table of their own that is watched."""

    def __init__(self, database_url: str) -> None:
        super().__init__(daemon=True)
        self._connection = psycopg.connect(database_url, autocommit=True, application_name="shop")
        self._connection.execute(_SHOP.encode())
        self._closing = threading.Event()

    def run(self) -> None:
        order = 20_417
        while not self._closing.wait(0.6):
            order += 1
            self._connection.execute(_ORDER, (order, round(random.uniform(9, 300), 2)))
            for state in ("paid", "sent"):
                if self._closing.wait(0.5):
                    return
                self._connection.execute("update shop.orders set state = %s where id = %s", (state, order))

    def close(self) -> None:
        self._closing.set()
        self.join()
        self._connection.close()


async def take(url: str, database_url: str, directory: Path) -> None:
    async with browsing() as browser:
        wide, dark, phone = [
            await _open(browser, url, *size, scheme)
            for size, scheme in (((1280, 800), "light"), ((1280, 800), "dark"), ((360, 740), "dark"))
        ]
        await asyncio.sleep(_FILLED_S)
        await wide.screenshot(path=directory / "page.png")
        await phone.screenshot(path=directory / "page-phone.png")
        shop = Shop(database_url)
        shop.start()
        rows = await _open(browser, url, 1280, 800, "light")
        await rows.locator(".event", has_text="sent").first.wait_for(timeout=60_000)
        await asyncio.sleep(8)
        await rows.screenshot(path=directory / "page-rows.png")
        shop.close()
        await dark.fill("#search", "#experiment")
        await dark.locator(".flag-row").first.click()
        await dark.click("#flag >> text=History")
        await dark.locator(".history .event").first.wait_for()
        await dark.screenshot(path=directory / "page-history.png")


async def _open(browser: Browser, url: str, width: int, height: int, scheme: str) -> Page:
    context = await browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
        locale="en-GB",
    )
    page = await context.new_page()
    await page.goto(url)
    return page


async def main(directory: Path) -> None:
    port = lasting_port()
    url = f"http://127.0.0.1:{port}/"
    with tempfile.NamedTemporaryFile("r") as said:
        demo = subprocess.Popen(
            [sys.executable, "-m", "cdc", "demo", "--port", str(port), "--interval", "500ms"],
            cwd=ROOT,
            stdout=said.fileno(),
            stderr=subprocess.DEVNULL,
        )
        try:
            async with httpx.AsyncClient() as client:

                async def is_ready() -> bool:
                    try:
                        return (await client.get(url + "readyz")).status_code == 200
                    except httpx.TransportError:
                        return False

                await until(is_ready, "the demo's start", _START_S)
            connect = re.search(r"psql (postgresql://\S+)", Path(said.name).read_text())
            assert connect is not None, "the demo says how to connect"
            await take(url, connect[1], directory)
        finally:
            demo.terminate()
            demo.wait()
    for path in sorted(directory.glob("page*.png")):
        print(f"{path}: {path.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    chosen = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images"
    chosen.mkdir(parents=True, exist_ok=True)
    asyncio.run(main(chosen))
