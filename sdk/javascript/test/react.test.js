// React: rendered by a server, hydrated, and followed in real Chromium.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import pg from "pg";
import { createElement as h } from "react";
import { renderToString } from "react-dom/server";
import { FlagentProvider, useFlag, useFlagentStatus, useFlagStore, useVariant } from "../dist/react.js";
import { launch, MISSING as NO_BROWSER, Origin } from "./browser.js";
import { event, flag, ScriptedServer, transports, until } from "./harness.js";
import { MISSING as NO_SERVER, RealServer } from "./real-server.js";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const wire = transports.WebSocket;

function withVariant(id, key, variantKey, more = {}) {
  const variants = [{ id: id + 100, flagID: id, key: variantKey, attachment: null }];
  const distributions = [{ id, segmentID: id, variantID: id + 100, variantKey, percent: 100 }];
  return flag(id, key, { enabled: true, variants, segments: [{ id, flagID: id, description: null, rank: 0, rolloutPercent: 100, constraints: [], distributions }], ...more });
}

describe("rendered by a server", () => {
  const entity = { entityID: "user123" };
  const bootstrap = { type: "snapshot", id: "10@k", position: "10", flags: [withVariant(1, "a", "blue"), flag(2, "b")] };
  const never = () => assert.fail("a server must not connect");
  function Probe() {
    const { status, source } = useFlagentStatus();
    return `${status} ${source} ${useFlag("a")?.enabled} ${useFlag("none")?.enabled} ${useVariant("a")?.key} ${useVariant("b")} ${useFlagStore()}`;
  }

  test("the flags of the bootstrap, without a connection", () => {
    assert.equal(renderToString(h(FlagentProvider, { client: never, options: { bootstrap }, entity }, h(Probe))), "STALE bootstrap true undefined blue null null");
    assert.equal(renderToString(h(FlagentProvider, { client: never, options: { bootstrap: "<" }, entity }, h(Probe))), "INITIALIZING null undefined undefined undefined null null");
  });

  test("misuse is named", () => {
    assert.throws(() => renderToString(h(FlagentProvider, {}, null)), /either a client or a store/);
    assert.throws(() => renderToString(h(Probe)), /no FlagentProvider above/);
    assert.throws(() => renderToString(h(FlagentProvider, { client: never }, h(Probe))), /useVariant\("a"\) needs an entity/);
  });
});

describe("in Chromium", { skip: NO_BROWSER, timeout: 900_000 }, () => {
  let browser;
  let context;
  let problems;

  before(async () => { browser = await launch(["--enable-precise-memory-info", "--js-flags=--expose-gc"]); }, { timeout: 60_000 });
  after(() => browser?.close());
  beforeEach(async () => {
    problems = [];
    context = await browser.newContext();
  });
  afterEach(async () => {
    await context.close();
    assert.deepEqual(problems, []);
  });

  async function open(url) {
    const tab = await context.newPage();
    tab.on("pageerror", (error) => problems.push(`uncaught: ${error}`));
    tab.on("console", (message) => { if (message.type() === "error" && !/favicon/.test(message.location().url)) problems.push(message.text()); });
    await tab.goto(url);
    return tab;
  }

  /** A page with this program, with a scripted server behind it. */
  async function pageOf(program, mode = "development") {
    const server = await ScriptedServer.start();
    const { outputFiles } = await build({
      stdin: { contents: program, resolveDir: ROOT, loader: "jsx" }, bundle: true, format: "esm", write: false, jsx: "automatic", jsxDev: false, define: { "process.env.NODE_ENV": JSON.stringify(mode) },
    });
    const page = "<!doctype html><link rel=icon href=data:,><div id=root></div><script type=module src=/program.js></script>";
    const origin = await Origin.start(server.port, { "/program.js": ["text/javascript", outputFiles[0].contents], "/app": ["text/html", page] });
    const stop = async () => {
      // First the page: it would report that it cannot reconnect.
      await Promise.all(context.pages().map((tab) => tab.close()));
      await origin.stop();
      await server.stop();
    };
    return { server, origin, stop, url: `${origin.url}/app` };
  }

  const text = (tab, id) => tab.evaluate((name) => document.getElementById(name)?.textContent ?? null, id);
  const shows = (tab, id, expected) => until(async () => (await text(tab, id)) === expected, `${id} shows ${expected}`);

  const MOUNT = `
    import { StrictMode } from "react";
    import { createRoot } from "react-dom/client";
    import { FlagentWebSocketClient } from "@flagent/realtime";
    import { FlagentProvider, useFlag, useFlagentStatus, useVariant } from "@flagent/realtime/react";
    const make = () => new FlagentWebSocketClient({ url: "/ws", reconnectConfig: { initialDelay: 50 } });
    const root = createRoot(document.getElementById("root"));
    window.unmount = () => root.unmount();
  `;

  test("StrictMode's double mount leaves one connection; unmounting leaves none", async () => {
    const { server, stop, url } = await pageOf(`${MOUNT}
      function Probe() { const { status } = useFlagentStatus(); return <p id="probe">{status} {String(useFlag("a")?.enabled)}</p>; }
      root.render(<StrictMode><FlagentProvider client={make}><Probe /></FlagentProvider></StrictMode>);
    `);
    try {
      const tab = await open(url);
      const accepted = await wire.accept(server);
      wire.snapshot(accepted.peer, [flag(1, "a")], "10@k", accepted.requestId);
      await shows(tab, "probe", "READY false");
      wire.event(accepted.peer, event("flag_updated", "11-0@k", flag(1, "a", { enabled: true })));
      await shows(tab, "probe", "READY true");
      assert.equal(server.peers.length, 1);
      await tab.evaluate(() => window.unmount());
      await until(() => accepted.peer.frames.some(({ opcode }) => opcode === 8), "the close frame");
      assert.equal(server.peers.length, 1);
    } finally {
      await stop();
    }
  });

  test("a variant follows its flag and what it depends on, and renders only when it is another one", async () => {
    const { server, stop, url } = await pageOf(`${MOUNT}
      window.renders = 0;
      function Probe() { window.renders++; return <p id="probe">{useVariant("a")?.key ?? "none"}</p>; }
      root.render(<FlagentProvider client={make} entity={{ entityID: "u" }} onExposure={(one) => (window.exposures ??= []).push(one.flagKey + " " + one.variantKey)}><Probe /></FlagentProvider>);
    `);
    try {
      const tab = await open(url);
      const accepted = await wire.accept(server);
      const a = (variant, more) => withVariant(1, "a", variant, { dependsOn: ["b"], ...more });
      wire.snapshot(accepted.peer, [a("blue"), withVariant(2, "b", "on"), flag(3, "c")], "10@k", accepted.requestId);
      await shows(tab, "probe", "blue");
      const before = await tab.evaluate(() => window.renders);
      wire.event(accepted.peer, event("flag_updated", "11-0@k", a("blue", { notes: "same variant" })));
      wire.event(accepted.peer, event("flag_updated", "12-0@k", flag(3, "c", { enabled: true })));
      wire.event(accepted.peer, event("flag_disabled", "13-0@k", flag(2, "b")));
      await shows(tab, "probe", "none");
      wire.event(accepted.peer, event("flag_enabled", "14-0@k", withVariant(2, "b", "on")));
      await shows(tab, "probe", "blue");
      assert.equal(await tab.evaluate(() => window.renders), before + 2);
      assert.deepEqual(await tab.evaluate(() => window.exposures.filter((one) => one === "a blue")), ["a blue"]);
    } finally {
      await stop();
    }
  });

  test("useTable shows the rows of a table, over a connection of its own while it is mounted", async () => {
    const { server, stop, url } = await pageOf(`${MOUNT}
      import { useState, StrictMode as Twice } from "react";
      import { useTable } from "@flagent/realtime/react";
      function Orders() { const { rows, status } = useTable("shop.orders", { where: "n > $1", params: [1] }); return <p id="orders">{status} {rows.map(({ id }) => id).join()}</p>; }
      function Toggle() { const [on, set] = useState(true); window.hide = () => set(false); return on ? <Orders /> : <p id="orders">hidden</p>; }
      root.render(<Twice><FlagentProvider client={make}><Toggle /></FlagentProvider></Twice>);
    `);
    try {
      const tab = await open(url);
      const first = await wire.accept(server);
      const second = await wire.accept(server);
      const [flags, table] = first.peer.messages[0].tables === undefined ? [first, second] : [second, first];
      assert.deepEqual(table.peer.messages[0].tables, [{ name: "shop.orders", where: "n > $1", params: [1] }]);
      wire.snapshot(flags.peer, [], "10@k", flags.requestId);
      table.peer.send({ type: "rows", table: "shop.orders", rows: [{ key: { id: 7 }, row: { id: 7 } }] });
      table.peer.send({ type: "rows_end", table: "shop.orders", id: "10@k", position: "10", rows: 1 });
      await shows(tab, "orders", "READY 7");
      table.peer.send({ type: "row_inserted", id: "11-0@k", table: "shop.orders", key: { id: 8 }, before: null, after: { id: 8 } });
      await shows(tab, "orders", "READY 7,8");
      await tab.evaluate(() => window.hide());
      await until(() => table.peer.frames.some(({ opcode }) => opcode === 8), "the end of its connection");
      assert.equal(server.peers.length, 2);
    } finally {
      await stop();
    }
  });

  test("200 flags on screen and 100 changes a second: no more renders than changes, and a stable heap", async (t) => {
    const seconds = Number(process.env.FLAGENT_TEST_HEAP_SECONDS ?? 6);
    const { server, stop, url } = await pageOf(`${MOUNT}
      window.renders = 0;
      window.torn = 0;
      function One({ name }) { window.renders++; return <td>{useFlag(name)?.notes}</td>; }
      // Two components that read the same flag in one render must see the same.
      function Twin({ name }) { const [x, y] = [useFlag(name)?.notes, useFlag(name)?.notes]; if (x !== y) window.torn++; return null; }
      const names = Array.from({ length: 200 }, (_, n) => "f" + n);
      function Table() { return <table><tbody><tr>{names.map((name) => <One key={name} name={name} />)}</tr></tbody></table>; }
      function Status() { return <p id="status">{useFlagentStatus().status}</p>; }
      root.render(<FlagentProvider client={make}><Table /><Twin name="f0" /><Status /></FlagentProvider>);
    `, "production");
    try {
      const tab = await open(url);
      const accepted = await wire.accept(server);
      wire.snapshot(accepted.peer, Array.from({ length: 200 }, (_, n) => flag(n + 1, `f${n}`, { notes: "0" })), "10@k", accepted.requestId);
      await shows(tab, "status", "READY");
      const heap = () => tab.evaluate(() => { window.gc(); return performance.memory.usedJSHeapSize; });
      const first = await tab.evaluate(() => window.renders);
      let sent = 0;
      const run = async (ms) => {
        const [began, first] = [performance.now(), sent];
        for (let passed = 0; passed < ms; passed = performance.now() - began) {
          while (sent - first < passed / 10) {
            sent++;
            const number = (sent * 7) % 200;
            wire.event(accepted.peer, event("flag_updated", `${10 + sent}-0@k`, flag(number + 1, `f${number}`, { notes: String(sent) })));
          }
          await new Promise((resolve) => setTimeout(resolve, 100));
        }
        const last = (sent * 7) % 200;
        await until(() => tab.evaluate((n) => document.querySelectorAll("td")[n].textContent, last).then((shown) => shown === String(sent)), "the last change");
      };
      await run(seconds * 333);
      const before = await heap();
      await run(seconds * 667);
      const grown = (await heap()) - before;
      const renders = (await tab.evaluate(() => window.renders)) - first;
      t.diagnostic(`${sent} changes, ${renders} renders, the heap has grown by ${grown} bytes`);
      assert.ok(renders <= sent, `${renders} renders for ${sent} changes`);
      assert.ok(renders >= 200, `${renders} renders`);
      assert.equal(await tab.evaluate(() => window.torn), 0);
      assert.ok(grown < 2_000_000, `the heap has grown by ${grown} bytes in ${seconds} s`);
    } finally {
      await stop();
    }
  });

  describe("the examples", { skip: NO_SERVER }, () => {
    let server;
    let database;

    before(async () => {
      server = await RealServer.start();
      database = new pg.Client(server.database);
      await database.connect();
      await database.query("insert into flags (key, description, enabled, created_at) values ('new_checkout', 'first', true, now())");
      await database.query("insert into variants (flag_id, key, attachment, created_at) select id, 'new', '{}', now() from flags");
      await database.query("insert into segments (flag_id, rank, rollout_percent, created_at) select id, 0, 100, now() from flags");
      await database.query("insert into distributions (segment_id, variant_id, variant_key, percent, created_at) select s.id, v.id, v.key, 100, now() from segments s, variants v");
    }, { timeout: 60_000 });

    after(async () => {
      await database?.end();
      await server?.stop();
    });

    /** A copy of an example with the packages that it names. */
    function install(name) {
      const folder = mkdtempSync(join(tmpdir(), "flagent-example-"));
      cpSync(join(ROOT, "examples", name), folder, { recursive: true });
      for (const one of ["react", "react-dom", "scheduler", "esbuild", "vite"]) {
        mkdirSync(join(folder, "node_modules"), { recursive: true });
        symlinkSync(join(ROOT, "node_modules", one), join(folder, "node_modules", one));
      }
      mkdirSync(join(folder, "node_modules", "@flagent"));
      symlinkSync(ROOT, join(folder, "node_modules", "@flagent", "realtime"));
      return folder;
    }

    const toggle = (value) => database.query("update flags set enabled = $1", [value]);

    test("Vite: built, follows changes, and begins with the flags of the last visit", async () => {
      const folder = install("react-vite");
      const { build: viteBuild } = await import("vite");
      try {
        await viteBuild({ root: folder, logLevel: "silent" });
        const dist = join(folder, "dist");
        const types = { js: "text/javascript", html: "text/html" };
        const files = Object.fromEntries(readdirSync(dist, { recursive: true }).filter((path) => /\.(js|html)$/.test(path)).map((path) => [`/${path}`, [types[path.split(".").at(-1)], readFileSync(join(dist, path))]]));
        const origin = await Origin.start(server.port, { ...files, "/": files["/index.html"] });
        try {
          const tab = await open(`${origin.url}/`);
          await shows(tab, "status", "READY server");
          await shows(tab, "variant", "new");
          await toggle(false);
          await shows(tab, "flag", "off");
          await shows(tab, "variant", "none");
          assert.equal(origin.open("/ws"), 1);
          await until(() => tab.evaluate(() => Object.keys(localStorage).some((key) => key.startsWith("flagent:"))), "saved");
          await tab.close();
          await until(() => origin.open("/ws") === 0);
          origin.target = 1;
          const again = await open(`${origin.url}/`);
          problems.length = 0;
          await until(async () => /^STALE cache$/.test(await text(again, "status")), "the flags of the last visit");
          assert.ok(["on", "off"].includes(await text(again, "flag")));
          await again.close();
          // A refused connection is an error in the console of every browser.
          problems.length = 0;
        } finally {
          await origin.stop();
        }
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    });

    test("rendered by a server: hydrated without a flash, then live", async () => {
      await toggle(true);
      const folder = install("react-server");
      const child = spawn(process.execPath, ["server.js"], { cwd: folder, env: { ...process.env, FLAGENT_URL: `http://127.0.0.1:${server.port}`, PORT: "0", NODE_ENV: "production" }, stdio: ["ignore", "pipe", "inherit"] });
      try {
        const url = await new Promise((resolve, reject) => {
          child.stdout.on("data", (data) => resolve(/http:\S+/.exec(String(data))[0]));
          child.once("exit", (code) => reject(new Error(`the example ended with ${code}`)));
        });
        await until(() => fetch(url).then((response) => response.text()).then((html) => /<p id="flag">on<\/p><p id="variant">new<\/p>/.test(html)), "the page of the server");
        const tab = await context.newPage();
        tab.on("pageerror", (error) => problems.push(`uncaught: ${error}`));
        tab.on("console", (message) => { if (message.type() === "error" && !/favicon/.test(message.location().url)) problems.push(message.text()); });
        // Every text that the page ever shows.
        await tab.addInitScript(() => {
          window.shown = [];
          new MutationObserver(() => {
            const now = document.getElementById("flag")?.textContent;
            if (now !== undefined && now !== window.shown.at(-1)) window.shown.push(now);
          }).observe(document, { subtree: true, childList: true, characterData: true });
        });
        await tab.goto(url);
        await shows(tab, "status", "READY server");
        assert.deepEqual(await tab.evaluate(() => window.shown), ["on"]);
        await toggle(false);
        await shows(tab, "flag", "off");
        await shows(tab, "variant", "none");
      } finally {
        child.kill();
      }
      rmSync(folder, { recursive: true, force: true });
    });
  });
});
