// In real Chromium, against the project's own server.
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import pg from "pg";
import { launch, MISSING as NO_BROWSER, Origin } from "./browser.js";
import { FlagentWebSocketClient } from "../dist/index.js";
import { ScriptedServer, until } from "./harness.js";
import { essence, MISSING as NO_SERVER, RealServer, truth } from "./real-server.js";

describe("in Chromium", { skip: NO_BROWSER || NO_SERVER, timeout: 300_000 }, () => {
  let server;
  let origin;
  let database;
  let browser;
  let context;
  let problems;

  before(async () => {
    [server, browser] = await Promise.all([RealServer.start(), launch()]);
    origin = await Origin.start(server.port);
    database = new pg.Client(server.database);
    await database.connect();
  }, { timeout: 60_000 });

  after(async () => {
    await browser?.close();
    await database?.end();
    await origin?.stop();
    await server?.stop();
  });

  beforeEach(async () => {
    problems = [];
    context = await browser.newContext();
    await database.query("truncate flags cascade");
    await database.query("insert into flags (key, description, enabled, created_at) values ('a', 'first', false, now()), ('b', 'second', true, now())");
  });

  afterEach(async () => {
    await context.close();
    await until(() => origin.open("/") === 0, "no connection is left");
    assert.deepEqual(problems, []);
  });

  async function page() {
    const tab = await context.newPage();
    tab.on("pageerror", (error) => problems.push(`uncaught: ${error}`));
    await tab.goto(`${origin.url}/`);
    return tab;
  }

  /** A tab with a client and a store, `window.client` and `window.store`; `window.ids` are the events it received. */
  async function tabWith(kind, options = {}) {
    const tab = await page();
    await tab.evaluate(async ([kind, options]) => {
      const sdk = await import("/sdk/index.js");
      const { shareTabs } = await import("/sdk/share.js");
      const { group, ...own } = options;
      const Client = kind === "WebSocket" ? sdk.FlagentWebSocketClient : sdk.FlagentSSEClient;
      window.errors = [];
      window.ids = [];
      window.client = new Client({ url: kind === "WebSocket" ? "/ws" : "/api/v1/events/stream", reconnectConfig: { initialDelay: 50, maxDelay: 500 }, ...own, ...(group === undefined ? {} : { share: shareTabs(group) }) });
      window.client.onError((error) => window.errors.push(String(error)));
      window.client.subscribeAll(({ id }) => window.ids.push(id));
      window.store = new sdk.FlagStore(window.client);
      await window.store.ready({ timeout: 30000 });
    }, [kind, options]);
    return tab;
  }

  const enabled = (tab) => tab.evaluate(() => window.store.get("a")?.enabled);
  const toggle = () => database.query("update flags set enabled = not enabled where key = 'a' returning enabled").then(({ rows }) => rows[0].enabled);
  const sees = (tab, value) => until(async () => (await enabled(tab)) === value, `the tab sees ${value}`);
  const setVisible = (tab, isVisible) => tab.evaluate((state) => {
    Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }, isVisible ? "visible" : "hidden");

  for (const kind of ["WebSocket", "SSE"]) {
    const path = kind === "WebSocket" ? "/ws" : "/api/v1/events";

    test(`${kind}: a live copy, also after a disconnect`, async () => {
      const tab = await tabWith(kind);
      await sees(tab, await toggle());
      origin.disconnect();
      const value = await toggle();
      await sees(tab, value);
      await until(() => tab.evaluate(() => window.store.status === "READY"));
      await database.query("insert into flags (key, description, enabled, created_at) values ('ж 🚩', 'third', true, now())").catch(() => undefined);
      await until(() => tab.evaluate(() => window.store.size === 3));
      const flags = await tab.evaluate(() => window.store.all());
      assert.deepEqual(flags.map(essence).sort((x, y) => x.id - y.id), await truth(database));
      const ids = await tab.evaluate(() => window.ids);
      assert.equal(new Set(ids).size, ids.length);
      await tab.evaluate(() => window.client.close());
      await until(() => origin.open(path) === 0, "closed");
    });

    test(`${kind}: a hidden tab disconnects, and catches up when it is visible again`, async () => {
      const tab = await tabWith(kind, { pauseWhenHidden: 50 });
      await setVisible(tab, false);
      await until(() => origin.open(path) === 0, "disconnected");
      assert.equal(await tab.evaluate(() => window.store.status), "STALE");
      const value = await toggle();
      await setVisible(tab, true);
      await sees(tab, value);
      await until(() => tab.evaluate(() => window.store.status === "READY"));
    });

    test(`${kind}: eight tabs share one connection; when the leader is closed, another tab takes over`, async () => {
      const tabs = [];
      for (let n = 0; n < 8; n++) tabs.push(await tabWith(kind, { group: "" }));
      await until(() => origin.open(path) === 1, "one connection");
      let value = await toggle();
      await Promise.all(tabs.map((tab) => sees(tab, value)));
      // The first tab has the lock.
      await tabs.shift().close();
      value = await toggle();
      await Promise.all(tabs.map((tab) => sees(tab, value)));
      await until(() => tabs[0].evaluate(() => window.store.status === "READY"));
      await until(() => origin.open(path) === 1, "one connection again");
      await toggle();
      await toggle();
      // Two toggles restore the first state; the number of events, two for each toggle, shows that both arrived.
      const received = () => Promise.all(tabs.map((tab) => tab.evaluate(() => window.ids)));
      await until(async () => (await received()).every((ids) => ids.length >= 8), "every tab receives all four changes");
      const lists = await received();
      for (const ids of lists) {
        assert.equal(new Set(ids).size, ids.length, "no event twice");
        assert.deepEqual(ids.slice(-8), lists[0].slice(-8), "every tab receives the same");
      }
      for (const tab of tabs) assert.deepEqual(await tab.evaluate(() => window.errors), []);
    });

    test(`${kind}: the shared connection stays while any tab is visible`, async () => {
      const [first, second] = [await tabWith(kind, { group: "group", pauseWhenHidden: 30 }), await tabWith(kind, { group: "group", pauseWhenHidden: 30 })];
      await setVisible(first, false);
      await new Promise((resolve) => setTimeout(resolve, 300));
      const value = await toggle();
      await Promise.all([first, second].map((tab) => sees(tab, value)));
      await setVisible(second, false);
      await until(() => origin.open(path) === 0, "disconnected");
      const later = await toggle();
      await setVisible(second, true);
      await Promise.all([first, second].map((tab) => sees(tab, later)));
    });
  }

  for (const kind of ["WebSocket", "SSE"]) {
    test(`${kind}: no tab misses or repeats an event while leaders close`, async () => {
      const reference = new FlagentWebSocketClient({ url: `ws://127.0.0.1:${server.port}/ws` });
      const all = [];
      reference.subscribeAll(({ id }) => all.push(id));
      await until(() => reference.state === "connected");
      const tabs = [];
      for (let n = 0; n < 4; n++) tabs.push(await tabWith(kind, { group: "" }));
      let isWriting = true;
      let toggles = 0;
      const writing = (async () => {
        while (isWriting) {
          await toggle();
          toggles++;
          await new Promise((resolve) => setTimeout(resolve, 5));
        }
      })();
      for (let n = 0; n < 2; n++) {
        await new Promise((resolve) => setTimeout(resolve, 400));
        await tabs.shift().close();
      }
      await until(() => tabs[0].evaluate(() => window.store.status === "READY"));
      isWriting = false;
      await writing;
      // Each is two events: updated, and turned on or off.
      await until(() => all.length === 2 * toggles, "the reference client has received all");
      const last = all.at(-1);
      await until(async () => (await Promise.all(tabs.map((tab) => tab.evaluate(() => window.ids.at(-1))))).every((id) => id === all.at(-1)), `all have ${last}`);
      for (const tab of tabs) {
        const ids = await tab.evaluate(() => window.ids);
        assert.deepEqual(ids, all.slice(all.indexOf(ids[0])));
      }
      reference.close();
    });
  }

  for (const kind of ["LocalStoragePersistence", "IndexedDbPersistence"]) {
    test(`${kind}: a reloaded page begins with the flags of the last visit, also without the server (tc-cache-resume)`, async () => {
      const visit = async () => {
        const tab = await page();
        await tab.evaluate(async (name) => {
          const sdk = await import("/sdk/index.js");
          const storages = await import("/sdk/persistence.js");
          window.client = new sdk.FlagentWebSocketClient({ url: "/ws", reconnectConfig: { initialDelay: 50, maxDelay: 500 } });
          window.ids = [];
          window.client.subscribeAll(({ id }) => window.ids.push(id));
          window.store = new sdk.FlagStore(window.client, { persistence: new storages[name]() });
        }, kind);
        return tab;
      };
      const first = await visit();
      await until(() => first.evaluate(() => window.store.status === "READY"));
      const value = await toggle();
      await sees(first, value);
      // Saved at the latest a second after the change.
      const saved = (tab) => tab.evaluate(async (name) => {
        if (name === "LocalStoragePersistence") return Object.values({ ...localStorage })[0] ?? null;
        const open = indexedDB.open("flagent", 1);
        await new Promise((resolve) => { open.onsuccess = resolve; });
        const request = open.result.transaction("flags").objectStore("flags").getAll();
        await new Promise((resolve) => { request.onsuccess = resolve; });
        open.result.close();
        return request.result[0] ?? null;
      }, kind);
      await until(async () => JSON.parse((await saved(first)) ?? "{}").flags?.find(({ key }) => key === "a")?.enabled === value, "saved");
      await first.close();
      const missed = await toggle();
      const { target } = origin;
      origin.target = 1;
      const second = await visit();
      await until(() => second.evaluate(() => window.store.source === "cache"), "the cache");
      assert.deepEqual(await second.evaluate(() => [window.store.status, window.store.size, window.store.get("a").enabled]), ["STALE", 2, value]);
      origin.target = target;
      await until(() => second.evaluate(() => window.store.status === "READY"));
      await sees(second, missed);
      await until(() => second.evaluate(() => window.ids.length >= 2));
      assert.equal(await second.evaluate(() => window.ids.length), 2, "only the missed events");
      await second.evaluate(() => window.client.close());
    });
  }

  test("a second selection joins a shared connection", async () => {
    await tabWith("WebSocket", { group: "" });
    const tab = await page();
    const flags = await tab.evaluate(async () => {
      const { FlagentWebSocketClient, FlagStore } = await import("/sdk/index.js");
      const { shareTabs } = await import("/sdk/share.js");
      window.client = new FlagentWebSocketClient({ url: "/ws", share: shareTabs() });
      const store = new FlagStore(window.client, { flags: ["b"] });
      await store.ready({ timeout: 10000 });
      return store.all().map(({ key }) => key);
    });
    assert.deepEqual(flags, ["b"]);
    assert.equal(origin.open("/ws"), 1);
    const answer = await tab.evaluate(() => window.client.evaluate("b", "user123"));
    assert.equal(answer.flagKey, "b");
    const refusal = await tab.evaluate(() => window.client.evaluate({ flagID: "x" }).catch((error) => [error.name, typeof error.code]));
    assert.deepEqual(refusal, ["RequestFailed", "string"]);
  });

  test("a tab with slow handlers leaves the shared stream, and rejoins with a resync", async () => {
    const quick = await tabWith("WebSocket", { group: "" });
    const slow = await tabWith("WebSocket", { group: "", queueSize: 5 });
    await slow.evaluate(() => {
      window.resyncs = [];
      window.client.onResync(({ reason }) => window.resyncs.push(reason));
      const gate = new Promise((resolve) => { window.release = resolve; });
      window.client.subscribeAll(() => gate);
    });
    let value;
    for (let n = 0; n < 10; n++) value = await toggle();
    await sees(quick, value);
    await until(() => slow.evaluate(() => window.client.state === "paused"));
    value = await toggle();
    await sees(quick, value);
    await slow.evaluate(() => window.release());
    await sees(slow, value);
    await until(() => slow.evaluate(() => window.store.status === "READY" && window.resyncs.join() === "rejoined"));
    value = await toggle();
    await sees(slow, value);
    assert.equal(origin.open("/ws"), 1);
  });

  test("a redirect that the browser has followed keeps the selection (tc-redirect)", async () => {
    const tab = await tabWith("SSE", { url: "/moved" });
    await until(() => tab.evaluate(() => window.store.status === "READY"));
    assert.match(origin.passed.at(-1).path, /^\/api\/v1\/events\/stream\?.*snapshot=true/);
    await tab.evaluate(() => window.client.close());
  });

  test("a key is sent as a subprotocol over the WebSocket, and never in a URL", async () => {
    const scripted = await ScriptedServer.start();
    const tab = await page();
    await tab.evaluate(async (port) => {
      const { FlagentWebSocketClient } = await import("/sdk/index.js");
      window.client = new FlagentWebSocketClient({ url: `ws://127.0.0.1:${port}/ws`, apiKey: "fla_sécret/+" });
      window.client.subscribeAll(() => undefined);
    }, scripted.port);
    const peer = await scripted.next();
    const [version, key] = peer.header("sec-websocket-protocol").split(", ");
    assert.equal(version, "flagent.v1");
    assert.equal(Buffer.from(key.replace("flagent.key.", ""), "base64url").toString(), "fla_sécret/+");
    assert.equal(peer.url.search, "");
    await tab.evaluate(() => window.client.close());
    await scripted.stop();
  });
});
