"""The documentation at `/docs`: in a real browser, without a network."""

import hashlib
from functools import partial
from pathlib import Path

import httpx
from playwright.async_api import Request, expect

from cdc.source.memory import MemoryLog
from tests.fixtures.authenticated import SECRET
from tests.fixtures.browser import Visits, needs_chromium
from tests.fixtures.reverse_proxy import GOOD, nginx
from tests.fixtures.server import RunningServer, serving

SWAGGER_UI = Path(__file__).parents[3] / "api/docs/swagger-ui"

# Of the files in the npm package swagger-ui-dist 5.35.0.
PUBLISHED = {
    "swagger-ui-bundle.js": "e6a898692f2d768e807c3ba4626068a69a2c5dd960dd6c76f3e4d3a3de180af2",
    "swagger-ui.css": "5ed08757e53da3e026d6cbecc61fe5d43585c9560b302d534ad56692519a273d",
}


def _note(requested: list[str], request: Request) -> None:
    requested.append(request.url)


@needs_chromium
async def test_it_shows_the_api_and_asks_no_other_server(memory_server: RunningServer, visits: Visits) -> None:
    """The visit ends with an error if the policy of the page forbids anything that it does."""
    with nginx(memory_server.url, GOOD, prefix="/cdc") as proxied:
        for url in (memory_server.url, proxied):
            page = await visits.open("about:blank")
            requested: list[str] = []
            page.on("request", partial(_note, requested))
            await page.goto(url + "/docs")
            await expect(page.locator(".title")).to_contain_text("flagent-cdc")
            operation = page.locator("#operations-health-healthz_healthz_get")
            await operation.locator(".opblock-summary-control").click()
            await operation.get_by_role("button", name="Try it out").click()
            await operation.get_by_role("button", name="Execute").click()
            await expect(operation.locator(".live-responses-table .response-col_status").last).to_contain_text("200")
            assert len(requested) >= 5
            assert [each for each in requested if not each.startswith((url + "/", "data:"))] == []


async def test_it_needs_no_credential_and_allows_only_scripts_of_this_server(memory_log: MemoryLog) -> None:
    async with serving(memory_log, auth_jwt_secret=SECRET) as server, httpx.AsyncClient(base_url=server.url) as http:
        page = await http.get("/docs")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        policy = page.headers["content-security-policy"]
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert "http" not in page.text.replace("http-equiv", "")
        for name in ("docs.js", "swagger-ui.css", "swagger-ui-bundle.js"):
            file = await http.get(f"/docs/{name}")
            assert file.status_code == 200, name
            assert (await http.get(f"/docs/{name}", headers={"if-none-match": file.headers["etag"]})).status_code == 304
        for name in ("oauth2-redirect", "LICENSE", "__init__.py", "none.js"):
            assert (await http.get(f"/docs/{name}")).status_code == 404, name


def test_the_files_of_others_are_those_that_were_published_with_their_licences() -> None:
    for name, digest in PUBLISHED.items():
        assert hashlib.sha256((SWAGGER_UI / name).read_bytes()).hexdigest() == digest, name
    assert "Apache License" in (SWAGGER_UI / "LICENSE").read_text()
    assert "SmartBear" in (SWAGGER_UI / "NOTICE").read_text()
    assert "@license" in (SWAGGER_UI / "swagger-ui-bundle.js.LICENSE.txt").read_text()
