"""The page in a real browser, on a real server and a real database: what a developer who debugs flags would see."""

import re
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx
import pytest
from playwright.async_api import Error, Locator, Page, Route, expect

from cdc.admin.api_keys import create_key
from cdc.core.subscription.grant import Grant
from tests.fixtures.browser import Visits, needs_chromium
from tests.fixtures.flags import Writer
from tests.fixtures.server import RunningServer, ServerProcess, serving

pytestmark = needs_chromium


@pytest.fixture
def writer(database_url: str) -> Iterator[Writer]:
    with Writer(database_url) as writer:
        yield writer


def row(page: Page, key: str) -> Locator:
    return page.locator(".flag-row").filter(has=page.locator(".flag-key", has_text=re.compile(f"^{re.escape(key)}$")))


def entry(page: Page, key: str) -> Locator:
    return page.locator(".event").filter(has=page.locator(".event-key", has_text=re.compile(f"^{re.escape(key)}$")))


async def is_live(page: Page) -> None:
    await expect(page.locator("#state")).to_have_attribute("data-state", "live", timeout=20_000)


async def is_live_and_empty(page: Page) -> None:
    """Connected, and what happened before the page was opened has been read and cleared away."""
    await is_live(page)
    await expect(page.locator("#event-list")).to_have_attribute("aria-busy", "false")
    await page.click("#clear")


async def page_is_narrow(page: Page) -> None:
    """Nothing sticks out to the side: neither the page nor anything within the view."""
    wide = await page.evaluate(
        """() => [document.scrollingElement, ...document.querySelectorAll("main, .pane, .view, [class$=list]")]
            .filter((each) => each.scrollWidth > each.clientWidth && each.clientWidth > 0)
            .map((each) => `${each.tagName} ${each.id} ${each.className}: ${each.scrollWidth} > ${each.clientWidth}`)"""
    )
    assert wide == []


async def test_a_change_by_anyone_appears_without_reload_and_flashes(
    server: RunningServer, writer: Writer, visits: Visits
) -> None:
    flag = writer.static_flag("checkout", "on", "off", enabled=False)
    writer.tag(flag, "payment")
    page = await visits.open(server.url)
    await is_live(page)
    await expect(row(page, "checkout").locator(".lever")).to_have_text("off")
    await expect(row(page, "checkout").locator(".tag")).to_have_text("payment")
    await expect(row(page, "checkout").locator(".bar-track .share")).to_have_attribute("style", "width: 100%;")
    await page.evaluate(
        """() => {
            window.flashes = [];
            addEventListener("animationstart", (event) => {
                if (event.animationName === "flash") window.flashes.push(event.target.getAttribute("aria-label"));
            });
            window.isTheSamePage = true;
        }"""
    )
    writer.run("update flags set enabled = true where key = 'checkout'", "update segments set rollout_percent = 25")
    await expect(row(page, "checkout").locator(".lever")).to_have_text("on")
    await expect(row(page, "checkout").locator(".bar-track .share")).to_have_attribute("style", "width: 25%;")
    await expect(row(page, "checkout")).to_have_attribute("aria-label", re.compile("checkout; on; tags payment"))
    await page.wait_for_function("window.flashes.some((label) => label.startsWith('checkout; on'))")
    assert await page.evaluate("window.isTheSamePage")


async def test_one_commit_is_one_entry_with_what_was_before_and_after(
    server: RunningServer, writer: Writer, visits: Visits
) -> None:
    flag = writer.flag("checkout", description="old words")
    writer.segment(flag, rollout=10)
    page = await visits.open(server.url)
    await is_live_and_empty(page)
    writer.run("update flags set enabled = true, description = 'new words'", "update segments set rollout_percent = 50")
    await expect(entry(page, "checkout")).to_have_count(1)
    await expect(entry(page, "checkout").locator(".badge")).to_have_text(["updated", "turned on", "segment"])
    fields = entry(page, "checkout").locator(".fields > div")
    await expect(fields).to_have_count(3)
    said = [await field.inner_text() for field in await fields.all()]
    assert [re.sub(r"\s+", " ", text) for text in said] == [
        "enabled off → on",
        "description old words → new words",
        "all · rollout 10 % → 50 %",
    ]
    await expect(entry(page, "checkout").locator(".latency")).to_have_text(re.compile(r"\d ms$|\d s$"))


async def test_events_are_filtered_paused_and_taken_up_again(
    server: RunningServer, writer: Writer, visits: Visits
) -> None:
    one, two = writer.flag("one"), writer.flag("two")
    page = await visits.open(server.url)
    await is_live_and_empty(page)
    writer.toggle(one)
    writer.toggle(two)
    await expect(page.locator(".event")).to_have_count(2)
    await page.fill("#event-search", "two")
    await expect(page.locator(".event-key")).to_have_text(["two"])
    await page.fill("#event-search", "")
    await page.click("#pause")
    writer.toggle(one)
    await expect(page.locator("#pause")).to_have_text("Resume · 1 new")
    await expect(page.locator(".event-key")).to_have_text(["two", "one"])
    await page.click("#pause")
    await expect(page.locator(".event-key")).to_have_text(["one", "two", "one"])
    for word in ("updated", "turned on"):
        await page.locator("#event-types").get_by_text(word, exact=True).click()
    await expect(page.locator(".event-key")).to_have_text(["one"])
    await expect(page.locator(".event .badge")).to_have_text(["updated", "turned off"])


async def test_the_evaluation_form_says_what_someone_gets_and_why(
    server: RunningServer, writer: Writer, visits: Visits
) -> None:
    flag = writer.flag("checkout", enabled=True)
    red, blue = writer.variant(flag, "red"), writer.variant(flag, "blue")
    germans = writer.segment(flag)
    writer.constraint(germans, "country", "EQ", "DE")
    writer.share(germans, red)
    writer.share(writer.segment(flag), blue)
    page = await visits.open(server.url)
    await row(page, "checkout").click()
    await expect(page.locator("#flag .constraints")).to_have_text("country is DE")
    await page.click("text=Evaluate this flag")
    await expect(page.locator(".context-row input").first).to_have_value("country")
    await page.fill("#evaluate-entity", "user-1")
    await page.locator(".context-row input").nth(1).fill("FR")
    await page.keyboard.press("Enter")
    await expect(page.locator(".verdict")).to_have_text("user-1 gets blue")
    await expect(page.locator(".trace .reason-line")).to_have_text(
        [re.compile("Does not match"), re.compile("within the rollout")]
    )
    await expect(page.locator(".trace .constraints")).to_have_text("country is DE – given: FR")
    await page.locator(".context-row input").nth(1).fill("DE")
    await page.keyboard.press("Enter")
    await expect(page.locator(".verdict")).to_have_text("user-1 gets red")
    await page.fill("#evaluate-key", "no such flag")
    await page.keyboard.press("Enter")
    await expect(page.locator(".answer")).to_contain_text("There is no such flag.")


async def test_a_flag_tells_its_history_and_what_someone_got_then(
    server: RunningServer, writer: Writer, visits: Visits
) -> None:
    visits.expect_error("status of 400")
    flag = writer.static_flag("checkout", "on", enabled=True)
    page = await visits.open(server.url)
    await row(page, "checkout").click()
    await page.click("#flag >> text=History")
    items = page.locator(".history .event")
    await expect(items.first.locator(".badge").last).to_have_text("shares")
    writer.run("update flags set enabled = false, updated_by = 'ann', updated_at = now()")
    await expect(items.first.locator(".who b")).to_have_text("ann")
    await expect(items.first.locator(".fields").first).to_have_text(re.compile("enabled.*on → off"))
    await expect(items.last.locator(".badge")).to_have_text(["created"])
    await items.nth(1).locator(".link").click()
    await page.fill("#evaluate-entity", "user-1")
    await page.keyboard.press("Enter")
    await expect(page.locator(".verdict")).to_have_text(re.compile(r"^user-1 got on at #\d+$"))
    await expect(page.locator(".trace .reason-line")).to_have_text(re.compile("within the rollout"))
    await page.fill("#evaluate-at", "")
    await page.keyboard.press("Enter")
    await expect(page.locator(".verdict")).to_have_text("user-1 gets no variant")
    await expect(page.locator(".answer .reason-line")).to_contain_text("turned off")
    await page.fill("#evaluate-at", "yesteryear")
    await page.keyboard.press("Enter")
    await expect(page.locator(".answer .reason")).to_contain_text("must be a position")
    writer.run(f"delete from flags where id = {flag}")
    await page.locator("#tab-flag").click()
    await expect(page.locator("#flag h2 .badge")).to_have_text("deleted")
    await expect(items.first.locator(".badge")).to_have_text(["deleted"])


async def test_it_opens_with_what_happened_just_before(server: RunningServer, writer: Writer, visits: Visits) -> None:
    flag = writer.flag("checkout", description="1")
    for text in ("2", "3"):
        writer.run(f"update flags set description = '{text}'")
    page = await visits.open(server.url)
    await expect(page.locator(".event ins").first).to_have_text("3")
    writer.toggle(flag)
    # The past stands below, joined to the present without gap and without repeat.
    await expect(page.locator(".event dd")).to_have_text(["off → on", "2 → 3", "1 → 2", "checkout", "off", "1"])


@pytest.fixture
def shop_url(database_url: str) -> str:
    """A database with a table that is watched, whose column `email` is masked."""
    with Writer(database_url) as writer:
        writer.run(
            "create schema shop",
            "create table shop.orders (id bigint primary key, email text, total numeric, note text)",
            "select flagent_cdc.watch('shop.orders', mask => '{email}')",
        )
    return database_url


async def fields_of(entry: Locator) -> list[str]:
    return [re.sub(r"\s+", " ", text) for text in await entry.locator(".fields > div").all_inner_texts()]


async def test_rows_of_watched_tables_show_what_changed_and_who_did_it(
    shop_url: str, server: RunningServer, writer: Writer, visits: Visits
) -> None:
    flag = writer.flag("checkout")
    page = await visits.open(server.url)
    await is_live_and_empty(page)
    await expect(page.locator("#tables .chip")).to_have_text(["shop.orders"])
    writer.connection.execute("set application_name = 'the shop'")
    writer.run("insert into shop.orders values (9007199254740993, 'a@x', 1.5, '12')")
    await expect(page.locator(".event")).to_have_count(1)
    order = page.locator(".event").first
    await expect(order.locator(".event-key")).to_have_text("shop.orders")
    # With all digits, though no double holds them.
    await expect(order.locator(".row-key")).to_have_text("id 9007199254740993")
    await expect(order.locator(".badge")).to_have_text("inserted")
    assert await fields_of(order) == ["email masked", "total 1.5", 'note "12"']
    await expect(order.locator(".who")).to_have_text(re.compile(r"^\w+ · the shop · transaction \d+$"))
    writer.run("update shop.orders set total = 2.5, note = null, email = 'b@x'")
    await expect(order.locator(".badge")).to_have_text("updated")
    assert await fields_of(order) == ["total 1.5 → 2.5", 'note "12" → null']
    writer.run("update shop.orders set email = 'c@x'")
    await expect(order.locator(".hint")).to_have_text("Only in masked columns.")
    # A commit of both kinds stands together, and many rows of one commit are told in short.
    writer.run(
        f"update flags set enabled = true where id = {flag}",
        "insert into shop.orders select n, null, n, 'x' from generate_series(1, 100) n",
    )
    await expect(order.locator(".hint")).to_have_text("and 92 more rows of this commit")
    await expect(page.locator(".event")).to_have_count(3 + 8 + 1)
    await expect(entry(page, "checkout").locator(".badge")).to_have_text(["updated", "turned on"])
    writer.run("delete from shop.orders where id > 100", "truncate shop.orders")
    await expect(order.locator(".badge")).to_have_text("emptied")
    await expect(page.locator(".event").nth(1).locator(".badge")).to_have_text("deleted")


async def test_rows_are_filtered_by_table_by_keyboard_and_found_by_text(
    shop_url: str, server: RunningServer, writer: Writer, visits: Visits
) -> None:
    visits.expect_error("status of 503")  # a stream that the server has only just opened
    writer.run("create table shop.visits (id int primary key, page text)")
    writer.run("select flagent_cdc.watch('shop.visits', lane => 'visits')")
    flag = writer.flag("checkout")
    writer.run("insert into shop.orders values (1, null, 10, 'before the page was opened')")
    page = await visits.open(server.url)
    await expect(page.locator("#tables .chip")).to_have_text(["shop.orders", "shop.visits"])
    keys = page.locator(".event-key")
    await expect(keys).to_have_text(["shop.orders", "checkout"])
    writer.toggle(flag)
    writer.run("update shop.orders set total = 11")
    await expect(keys).to_have_text(["shop.orders", "checkout", "shop.orders", "checkout"])
    # A table with a stream of its own is followed when it is asked for.
    orders, visited = page.locator("#tables .chip").first, page.locator("#tables .chip").last
    of_orders, of_visits = entry(page, "shop.orders"), entry(page, "shop.visits")
    await expect(visited).to_have_attribute("aria-pressed", "false")
    for n in (0, 1):
        writer.run(f"insert into shop.visits values ({n}, '/before')")
    await visited.focus()
    await page.keyboard.press("Enter")
    await expect(visited).to_have_attribute("aria-pressed", "true")
    await expect(of_visits.first).to_contain_text("id 1")
    writer.run("update shop.visits set page = '/after' where id = 1")
    await expect(of_visits.first.locator(".fields")).to_have_text(re.compile("/before → /after"))
    # What is turned off is gone; turned on again, it is all there, also what happened in between.
    await orders.press("Space")
    await expect(of_orders).to_have_count(0)
    await expect(of_visits.last).to_be_visible()
    writer.run("update shop.orders set total = 12")
    await orders.press("Space")
    await expect(of_orders).to_have_count(3)
    await expect(entry(page, "checkout")).to_have_count(2)
    await page.fill("#event-search", "BEFORE opened")
    await expect(keys).to_have_text(["shop.orders"])
    await of_orders.locator(".event-key").click()
    await expect(page.locator("#event-search")).to_have_value("shop.orders")
    await expect(keys).to_have_text(["shop.orders"] * 3)
    await page.fill("#event-search", "")
    for word in ("inserted", "updated"):
        await page.locator("#row-types").get_by_text(word, exact=True).click()
    await expect(keys).to_have_text(["checkout", "checkout"])


async def test_a_table_is_looked_at_live_through_a_condition(
    shop_url: str, server: RunningServer, writer: Writer, visits: Visits
) -> None:
    visits.expect_error("status of 400")  # the browser reports that a condition was refused
    writer.run(
        "insert into shop.orders values (9007199254740993, 'a@x', 10, 'open'), (2, null, 20, 'held')",
        "insert into shop.orders values (3, null, 30, 'open')",
    )
    page = await visits.open(server.url)
    await is_live(page)
    await page.click("#tab-rows")
    lines, state = page.locator("#rows tbody tr"), page.locator("#rows-state")

    async def ask(where: str, *params: str) -> None:
        await page.fill("#rows-where", where)
        inputs = page.locator("#rows .context input")
        await expect(inputs).to_have_count(len(params))
        for place, param in enumerate(params):
            await inputs.nth(place).fill(param)
        await page.press("#rows-where", "Enter")

    await ask("")
    await expect(state).to_have_text("3 rows, live")
    await expect(page.locator("#rows th")).to_have_text(["id", "email", "total", "note"])
    await ask("note = $1 and total >= $2", "open", "10")
    await expect(state).to_have_text("2 rows, live")
    # With all digits, though no double holds them.
    await expect(lines.first.locator("td").first).to_have_text("9007199254740993")
    # Into the condition, within it, and out of it.
    writer.run("update shop.orders set note = 'open' where id = 2")
    await expect(state).to_have_text("3 rows, live")
    writer.run("update shop.orders set total = 33.50 where id = 3")
    await expect(lines.filter(has_text="33.50")).to_have_count(1)
    writer.run("update shop.orders set total = 5 where id = 2", "insert into shop.orders values (4, null, 1, 'open')")
    await expect(state).to_have_text("2 rows, live")
    writer.run("delete from shop.orders where id = 3")
    await expect(state).to_have_text("1 row, live")
    await page_is_narrow(page)
    # What the server does not take, it says in its own words, and the page does not ask again.
    await ask("price > 10")
    await expect(page.locator("#rows .reason")).to_have_text(re.compile("price"))
    await expect(lines).to_have_count(0)
    await ask("total > $1", "1")
    await expect(page.locator("#rows .reason")).to_have_text("")
    await expect(state).to_have_text("2 rows, live")
    writer.run("truncate shop.orders")
    await expect(state).to_have_text("0 rows, live")
    phone = await visits.open(f"{server.url}/#rows", width=360, height=640)
    await is_live(phone)
    await phone.click("#rows button[type=submit]")
    await expect(phone.locator("#rows-state")).to_have_text("0 rows, live")
    await page_is_narrow(phone)


async def test_a_flag_tells_how_often_its_variants_were_used(database_url: str, writer: Writer, visits: Visits) -> None:
    flag = writer.static_flag("checkout", "blue", "green")
    writer.flag("unused")
    async with serving(database_url, exposures_enabled=True) as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=20) as client:
            counts = [("blue", 1500), ("green", 600), (None, 400)]
            exposures = [{"flagKey": "checkout", "variantKey": variant, "count": count} for variant, count in counts]
            answer = await client.post("/api/v1/exposures", json={"exposures": exposures})
            assert answer.json()["accepted"] == 3
        page = await visits.open(f"{server.url}/#flag/checkout")
        usage = page.locator("#flag .usage")
        await expect(usage.locator(".hint")).to_have_text("2 500 exposures reported in the last 24 hours")
        await expect(usage.locator("li")).to_have_text(["blue1 50060 %", "green60024 %", "no variant40016 %"])
        # A change to the flag keeps what is shown.
        writer.toggle(flag)
        await expect(page.locator("#flag .lever")).to_have_text("off")
        await expect(usage.locator("li")).to_have_count(3)
        await row(page, "unused").click()
        await expect(usage.locator(".hint")).to_have_text("No exposure was reported in the last 24 hours.")
        await page.locator("#flag").get_by_text("History", exact=True).click()
        await expect(usage).to_have_count(0)
        await page_is_narrow(page)
        await page.close()
    async with serving(database_url) as server:
        page = await visits.open(f"{server.url}/#flag/checkout")
        await expect(page.locator("#flag h3").first).to_have_text("Who gets what")
        await expect(page.locator("#flag .usage")).to_have_count(0)
        await page.close()


async def test_a_flag_has_an_address_that_can_be_kept_and_gone_back_from(
    server: RunningServer, writer: Writer, visits: Visits
) -> None:
    key = "team/check out%?#é"
    writer.static_flag(key, "on")
    page = await visits.open(server.url)
    await row(page, key).click()
    await expect(page.locator("#flag h2")).to_contain_text(key)
    kept = page.url
    await page.go_back()
    await expect(page.locator("body")).to_have_attribute("data-view", "flags")
    again = await visits.open(kept)
    await expect(again.locator("#flag h2")).to_contain_text(key)
    await expect(again.locator("#flag .segments")).to_be_visible()


async def test_the_copy_is_proven_equal_to_the_servers(database_url: str, writer: Writer, visits: Visits) -> None:
    writer.static_flag("checkout", "on", "off")
    writer.run("""update variants set attachment = '{"b\U0001f6a9": "\\"\\u2028", "b\uff5e": "é", "": "1"}'""")
    async with serving(database_url, sse_keep_alive_s=0.3) as server:
        page = await visits.open(f"{server.url}/#server")
        await expect(page.locator("#server")).to_contain_text("verified equal to the server's")
        writer.run("update flags set description = 'other'")
        await expect(page.locator("#instrument-position")).to_have_text(f"#{await server.pipeline.newest_position()}")
        await expect(page.locator("#server")).to_contain_text("verified equal to the server's")
        await page.click("#tab-events")
        await expect(page.locator(".event ins").first).to_have_text("other")
        await expect(page.locator(".note")).to_have_count(0)
        await page.close()  # before the server ends


async def test_the_parts_of_the_page_keep_their_word(server: RunningServer, visits: Visits) -> None:
    page = await visits.open(server.url)
    # Blocks are the same wherever the network cuts the stream, also within a character's name or a line's end.
    blocks = await page.evaluate(
        """async () => {
            const { BlockReader } = await import("/page/sse.js");
            const text = "retry: 20\\n\\n: a: b\\r\\nevent: x\\r\\nid: 7\\r\\ndata: 1\\r\\ndata:2\\r\\n\\r\\n" +
                "id\\n\\ndata: é\\n\\n";
            const whole = JSON.stringify([...new BlockReader().feed(text)]);
            const differing = [];
            for (let cut = 0; cut <= text.length; cut++) {
                const reader = new BlockReader();
                const parts = [...reader.feed(text.slice(0, cut)), ...reader.feed(text.slice(cut))];
                if (JSON.stringify(parts) !== whole) differing.push(cut);
            }
            return [JSON.parse(whole), differing];
        }"""
    )
    assert blocks == [
        [
            {"event": "message", "retry": 20, "comments": [], "data": None},
            {"event": "x", "id": "7", "comments": ["a: b"], "data": "1\n2"},
            {"event": "message", "id": "", "comments": [], "data": None},
            {"event": "message", "comments": [], "data": "é"},
        ],
        [],
    ]


async def test_a_stream_that_is_told_to_begin_anew_forgets_its_id(server: RunningServer, visits: Visits) -> None:
    page = await visits.open(server.url)
    # What ends it comes in the middle of a piece, as where the digest in a keep-alive is another one.
    asked = await page.evaluate(
        """() => new Promise(async (resolve) => {
            const { Stream } = await import("/page/stream.js");
            const snapshot = 'event: snapshot\\nid: 5@a\\ndata: {"flags": [], "position": "5"}\\n\\n';
            const beat = ": keep-alive position=5 fresh=true ageMs=1 digest=x\\nid: 5@a\\n\\n";
            const { fetch } = window;
            const asked = [];
            window.fetch = async (url, options) => {
                if (!String(url).endsWith("/scripted?snapshot=true")) return fetch(url, options);
                asked.push(options.headers["last-event-id"] ?? null);
                if (asked.length === 3) resolve(asked);
                return new Response(new ReadableStream({
                    start(piece) {
                        piece.enqueue(new TextEncoder().encode(snapshot + beat + snapshot));
                        options.signal.addEventListener("abort", () => piece.error(options.signal.reason));
                    },
                }));
            };
            const stream = new Stream(new URL("/scripted?snapshot=true", location), {
                onState() {}, onSnapshot() {}, onEvent() {},
                onKeepAlive() { asked.length === 1 ? stream.restart() : setTimeout(() => stream.reconnect()); },
            });
            stream.start(null);
        })"""
    )
    assert asked == [None, None, "5@a"]


async def test_an_answer_that_is_overtaken_is_not_shown(server: RunningServer, writer: Writer, visits: Visits) -> None:
    for key in ("one", "two"):
        writer.static_flag(key, key)
    page = await visits.open(f"{server.url}/#evaluate")
    held: list[Route] = []

    async def hold_the_first(route: Route) -> None:
        if held:
            await route.continue_()
        else:
            held.append(route)

    await page.route("**/api/v1/evaluation", hold_the_first)
    await page.fill("#evaluate-key", "one")
    await page.keyboard.press("Enter")
    await page.fill("#evaluate-key", "two")
    await page.keyboard.press("Enter")
    await expect(page.locator(".verdict b")).to_have_text("two")
    async with page.expect_response("**/api/v1/evaluation"):
        await held[0].continue_()
    await page.evaluate("new Promise(requestAnimationFrame)")
    await expect(page.locator(".verdict b")).to_have_text("two")


async def test_everything_is_reached_by_keyboard_alone(server: RunningServer, writer: Writer, visits: Visits) -> None:
    writer.static_flag("alpha", "on")
    writer.static_flag("beta", "on")
    page = await visits.open(server.url)
    await is_live(page)
    focused = page.locator(":focus")
    # Who has only come has not been sent anywhere.
    assert await page.evaluate("document.activeElement === document.body")
    await page.keyboard.press("/")
    await expect(focused).to_have_id("search")
    await page.keyboard.type("a")
    await page.keyboard.press("ArrowDown")
    await expect(focused).to_have_id("flag-list")
    await page.keyboard.press("ArrowDown")
    await expect(row(page, "beta")).to_have_attribute("aria-selected", "true")
    active = await page.locator("#flag-list").get_attribute("aria-activedescendant")
    assert active == await row(page, "beta").get_attribute("id")
    await page.keyboard.press("Enter")
    await expect(page.locator("#flag h2")).to_contain_text("beta")
    await expect(focused).to_have_id("flag")
    await page.keyboard.press("v")
    await expect(focused).to_have_id("evaluate-key")
    await page.keyboard.type("beta")
    await page.keyboard.press("Enter")
    await expect(page.locator(".verdict")).to_contain_text("gets on")
    await page.keyboard.press("Escape")
    await page.keyboard.press("s")
    await expect(page.locator("#server")).to_contain_text("notifications received")
    await page.locator("#tab-server").focus()
    await page.keyboard.press("ArrowRight")
    await expect(page.locator("#tab-events")).to_be_focused()
    await expect(page.locator("#events")).to_be_visible()
    await page.keyboard.press("?")
    await expect(page.locator("#help")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.locator("#help")).to_be_hidden()
    # Every control shows where the focus is, and has a name.
    nameless = await page.evaluate(
        """() => [...document.querySelectorAll("button, input")].filter((each) => each.offsetParent !== null)
            .filter((each) => !(each.textContent.trim() || each.getAttribute("aria-label") || each.labels?.length))
            .map((each) => each.outerHTML)"""
    )
    assert nameless == []


async def test_a_phone_shows_everything_without_scrolling_sideways(
    server: RunningServer, writer: Writer, visits: Visits
) -> None:
    long = "a_key_without_any_place_to_break_" * 5
    flag = writer.static_flag(long[:63], "a_variant_with_a_name_that_is_too_long_for_a_phone")
    writer.tag(flag, "a-tag-that-is-rather-long")
    writer.constraint(writer.segment(flag), "a_property_of_some_length", "IN", ",".join(["SOMEWHERE"] * 40))
    writer.run("create table a_table_with_a_long_name_of_its_own_that_is_watched (id text primary key, a_column text)")
    writer.run("select flagent_cdc.watch('a_table_with_a_long_name_of_its_own_that_is_watched')")
    page = await visits.open(server.url, width=360, height=740, has_touch=True)
    await is_live(page)
    await page_is_narrow(page)
    writer.run(
        f"insert into a_table_with_a_long_name_of_its_own_that_is_watched values ('{'k' * 90}', '{'v' * 90}')",
        f"update flags set enabled = false, description = '{'w' * 200}'",
    )
    await page.click("#tab-events")
    await expect(page.locator(".row-key")).to_be_visible()
    await expect(page.locator(".event del").first).to_have_text("on")
    await expect(page.locator("#chart")).to_be_visible()
    await page_is_narrow(page)
    await entry(page, long[:63]).first.locator(".event-key").click()
    await expect(page.locator("#flag .constraints")).to_be_visible()
    await page_is_narrow(page)
    await page.click("text=Evaluate this flag")
    await page.click("#evaluate button[type=submit]")
    await expect(page.locator(".verdict")).to_be_visible()
    await page_is_narrow(page)
    await page.click("#tab-server")
    await expect(page.locator("#server")).to_contain_text("notifications received")
    await page_is_narrow(page)
    await page.click("#tab-flags")
    await expect(row(page, long[:63])).to_be_visible()


async def test_it_is_light_or_dark_as_the_system_or_the_switch_says(server: RunningServer, visits: Visits) -> None:
    async def is_dark(page: Page) -> bool:
        channels = await page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
        return bool(sum(channels) < 3 * 128)

    light = await visits.open(server.url, color_scheme="light")
    assert not await is_dark(light)
    dark = await visits.open(server.url, color_scheme="dark")
    assert await is_dark(dark)
    await dark.keyboard.press("t")
    assert not await is_dark(dark)
    await dark.reload()
    assert not await is_dark(dark)
    await dark.keyboard.press("t")
    assert await is_dark(dark)


async def test_without_motion_a_change_still_shows(server: RunningServer, writer: Writer, visits: Visits) -> None:
    flag = writer.flag("checkout")
    page = await visits.open(server.url, reduced_motion="reduce")
    await is_live(page)
    writer.toggle(flag)
    await expect(row(page, "checkout")).to_have_class(re.compile("flash"))
    assert await row(page, "checkout").evaluate("(node) => getComputedStyle(node).animationName") == "none"


async def test_after_a_restart_it_resumes_without_losing_an_event(
    database_url: str, writer: Writer, visits: Visits
) -> None:
    flag = writer.flag("checkout", description="0")
    server = ServerProcess(database_url, FLAGENT_SSE_KEEP_ALIVE="1s")
    visits.expect_error("ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_EMPTY_RESPONSE|503")
    visits.expect_error("ERR_CONNECTION_RESET|ERR_NETWORK_CHANGED")
    try:
        server.start()
        await server.ready()
        page = await visits.open(server.url)
        await is_live_and_empty(page)
        writer.run("update flags set description = '1'")
        await expect(page.locator(".event")).to_have_count(1)
        server.send(signal.SIGKILL)
        server.wait()
        await expect(page.locator("#state")).to_have_attribute("data-state", re.compile("waiting|connecting"))
        await expect(page.locator("#state-reason")).to_contain_text("may be old")
        for text in ("2", "3"):
            writer.run(f"update flags set description = '{text}'")
        writer.toggle(flag)
        server.start()
        await server.ready()
        await is_live(page)
        # Each of them, not only the newest state: and nothing says that the stream had to start over.
        await expect(page.locator(".event ins")).to_have_text(["on", "3", "2", "1"])
        await expect(page.locator(".note")).to_have_count(0)
        await expect(page.locator("#state-reason")).to_be_empty()
    finally:
        server.kill()


@asynccontextmanager
async def guarded(database_url: str) -> AsyncIterator[RunningServer]:
    async with serving(database_url, auth_enabled=True) as server:
        yield server


async def test_it_asks_for_a_credential_and_shows_what_that_allows(
    database_url: str, writer: Writer, visits: Visits
) -> None:
    for key in ("web-search", "ops-secret"):
        writer.flag(key)
    everything = create_key(database_url, "everything", Grant(admin=True))
    restricted = create_key(database_url, "web", Grant(flags=frozenset({"web-search"})))
    visits.expect_error("status of (40[13]|410)")
    async with guarded(database_url) as server:
        page = await visits.open(server.url)
        await expect(page.locator("#credential")).to_be_visible()
        await expect(page.locator("#state")).to_have_attribute("data-state", "refused")
        assert await page.locator(".flag-row").count() == 0
        await page.fill("#credential-text", "fla_cdc_aaaaaaaa_" + "x" * 43)
        await page.keyboard.press("Enter")
        await expect(page.locator("#credential-reason")).to_contain_text("unknown API key")
        await page.fill("#credential-text", restricted)
        await page.keyboard.press("Enter")
        await is_live(page)
        await expect(page.locator(".flag-key")).to_have_text(["web-search"])
        await page.keyboard.press("s")
        await expect(page.locator("#server")).to_contain_text("this credential")
        await page.click("#open-credential")
        await page.fill("#credential-text", everything)
        await page.check("#credential-keep")
        await page.keyboard.press("Enter")
        await expect(page.locator(".flag-key")).to_have_text(["ops-secret", "web-search"])
        await expect(page.locator("#server")).to_contain_text("notifications received")
        assert everything not in page.url
        await page.reload()
        await expect(page.locator(".flag-key")).to_have_text(["ops-secret", "web-search"])
        await page.click("#open-credential")
        await page.click("#credential-forget")
        await expect(page.locator("#credential")).to_be_visible()
        assert await page.evaluate("sessionStorage.length") == 0
        await expect(page.locator(".flag-row")).to_have_count(0)
        await page.close()  # before the server ends


async def test_without_an_event_stream_it_says_so(database_url: str, visits: Visits) -> None:
    async with serving(database_url, sse_enabled=False) as server:
        page = await visits.open(server.url)
        await expect(page.locator("#state")).to_have_attribute("data-state", "stopped")
        await expect(page.locator("#state-reason")).to_contain_text("FLAGENT_SSE_ENABLED")
        await expect(page.locator("#instrument-listener")).to_have_text("listening")
        await page.close()  # before the server ends


async def test_markup_in_a_flag_stays_text(server: RunningServer, writer: Writer, visits: Visits) -> None:
    bait = '<img src=x onerror="window.caught=1">'
    flag = writer.static_flag("<b>bold</b>", bait)
    writer.tag(flag, "<i>tag</i>")
    writer.run("""update variants set attachment = '{"<u>": "<script>window.caught=1</script>"}'""")
    writer.constraint(writer.segment(flag), "<s>", "EQ", bait)
    page = await visits.open(server.url)
    await is_live(page)
    writer.run(f"update flags set description = '{bait}', notes = '{bait}', entity_type = '{bait}'")
    await expect(page.locator(".event ins").first).to_have_text(bait)
    await expect(page.locator(".flag-key")).to_have_text(["<b>bold</b>"])
    await row(page, "<b>bold</b>").click()
    await expect(page.locator("#flag h2")).to_contain_text("<b>bold</b>")
    await page.click("text=Evaluate this flag")
    await page.click("#evaluate button[type=submit]")
    await expect(page.locator(".verdict")).to_contain_text(bait)
    assert await page.locator("b b, i i, u, s, img:not(.brand img)").count() == 0
    assert await page.evaluate("window.caught") is None
    # And were a line of the page ever to forget it, the policy would not.
    visits.expect_error("TrustedHTML")
    with pytest.raises(Error, match="TrustedHTML"):
        await page.evaluate("document.body.innerHTML = '<b>'")


async def test_thousands_of_flags_and_a_burst_of_events_stay_few_elements(
    server: RunningServer, writer: Writer, visits: Visits
) -> None:
    writer.run(
        "insert into flags (key, description, created_at)"
        " select 'flag.' || to_char(n, 'FM0000'), 'number ' || n, now() from generate_series(1, 3000) n"
    )
    page = await visits.open(server.url)
    await is_live(page)
    await expect(page.locator("#flag-count")).to_have_text("3 000 flags")
    assert await page.locator(".flag-row").count() < 60
    with writer.connection.pipeline():
        for n in range(1, 1001):
            writer.connection.execute("update flags set enabled = true where key = %s", (f"flag.{n:04}",))
    await expect(page.locator(".event").first.locator(".event-key")).to_have_text("flag.1000")
    assert await page.locator(".event").count() <= 400
    await page.fill("#search", "flag.0999")
    await expect(page.locator(".flag-row .lever")).to_have_text(["on"])
    # Within one frame, as on a busy machine: the key must not meet the list that was drawn before.
    await page.evaluate(
        """() => {
            const search = document.querySelector("#search");
            search.value = "";
            search.dispatchEvent(new Event("input"));
            const list = document.querySelector("#flag-list");
            list.focus();
            list.dispatchEvent(new KeyboardEvent("keydown", { key: "End", bubbles: true }));
        }"""
    )
    await expect(row(page, "flag.3000")).to_be_visible()
    assert await page.locator(".flag-row").count() < 60


async def test_the_page_is_open_and_carries_no_data(database_url: str, writer: Writer) -> None:
    writer.flag("secret")
    async with guarded(database_url) as server, httpx.AsyncClient(base_url=server.url) as http:
        index = await http.get("/")
        assert index.status_code == 200
        policy = index.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        parts = re.findall(r'(?:src|href)="(page/[^"]+)"', index.text)
        assert len(parts) >= 3
        for part in parts:
            answer = await http.get(f"/{part}")
            assert answer.status_code == 200, part
            assert "secret" not in answer.text.replace("FLAGENT_CDC_AUTH_JWT_SECRET", "")
            again = await http.get(f"/{part}", headers={"if-none-match": answer.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")
        assert (await http.get("/", headers={"if-none-match": index.headers["etag"]})).headers[
            "content-security-policy"
        ] == policy
        for path in ("/page/__init__.py", "/page/nothing.js", "/page/..%2fapp.py"):
            assert (await http.get(path)).status_code == 404, path
        assert (await http.get("/api/v1/status")).status_code == 401
    async with serving(database_url, web_page_enabled=False) as server, httpx.AsyncClient(base_url=server.url) as http:
        for path in ("/", "/page/app.js"):
            assert (await http.get(path)).status_code == 404, path
