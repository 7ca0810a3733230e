"""Takes the pictures of the page that the documents show, from the demo.

    python -m tests.page.screenshots [DIRECTORY]

Into `docs/images`, or into a directory of your own to look at. It takes a good minute, so that the timeline is full;
the latencies in the pictures are those of the machine that it runs on.
"""

import asyncio
import subprocess
import sys
from pathlib import Path

import httpx
from playwright.async_api import Browser, Page

from tests.fixtures.browser import browsing
from tests.fixtures.ports import lasting_port
from tests.fixtures.server import until

ROOT = Path(__file__).parents[2]

# A little more than the span of the timeline.
_FILLED_S = 64.0

_START_S = 60.0


async def take(url: str, directory: Path) -> None:
    async with browsing() as browser:
        wide, dark, phone = [
            await _open(browser, url, *size, scheme)
            for size, scheme in (((1280, 800), "light"), ((1280, 800), "dark"), ((360, 740), "dark"))
        ]
        await asyncio.sleep(_FILLED_S)
        await wide.screenshot(path=directory / "page.png")
        await phone.screenshot(path=directory / "page-phone.png")
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
    demo = subprocess.Popen(
        [sys.executable, "-m", "cdc", "demo", "--port", str(port), "--interval", "500ms"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
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
        await take(url, directory)
    finally:
        demo.terminate()
        demo.wait()
    for path in sorted(directory.glob("page*.png")):
        print(f"{path}: {path.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    chosen = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images"
    chosen.mkdir(parents=True, exist_ok=True)
    asyncio.run(main(chosen))
