// Flags that survive a restart, clients that are offline, and where a store is; against a server that each test scripts.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";
import { awaitBaggage, baggageHeaders } from "../dist/baggage.js";
import { ConnectionRefused, FlagentSSEClient, FlagentWebSocketClient, FlagStore, NotReady, SavedFlagsIgnored } from "../dist/index.js";
import { FilePersistence } from "../dist/file-persistence.js";
import { LocalStoragePersistence } from "../dist/persistence.js";
import { savedText, storageKey } from "../dist/core/saved-flags.js";
import { event, FakeClock, flag, ScriptedServer, transports, until } from "./harness.js";

const NO_DISK = process.platform === "linux" && process.getuid() === 0 ? false : "only root mounts a small disk, on Linux";
const sleepUntilIdle = () => new Promise((resolve) => setImmediate(resolve));

/** A persistence in memory. */
class Memory {
  texts = new Map();
  saves = [];
  load = (key) => this.texts.get(key) ?? null;
  save = (key, text) => {
    this.saves.push(JSON.parse(text));
    this.texts.set(key, text);
  };
}

for (const [name, Client] of [["WebSocket", FlagentWebSocketClient], ["SSE", FlagentSSEClient]]) {
  describe(`${name}: known flags`, () => {
    const wire = transports[name];
    let server;
    let clock;
    let errors;
    let clients;
    let directory;

    beforeEach(async () => {
      server = await ScriptedServer.start();
      clock = new FakeClock();
      errors = [];
      clients = [];
      directory = mkdtempSync(join(tmpdir(), "flagent-cache-"));
    });

    afterEach(async () => {
      for (const client of clients) client.close();
      await server.stop();
      chmodSync(directory, 0o700);
      rmSync(directory, { recursive: true });
    });

    function connect(options = {}) {
      const client = new Client({ url: wire.url(server), clock, reconnectConfig: { initialDelay: 1 }, ...options });
      client.onError((error) => errors.push(error));
      clients.push(client);
      return client;
    }

    /** A first run that leaves the flags `a` and `b` at position 10. */
    async function run(persistence, options = {}, storeOptions = {}) {
      const client = connect(options);
      const store = new FlagStore(client, { persistence, ...storeOptions });
      const accepted = await wire.accept(server);
      wire.snapshot(accepted.peer, [flag(1, "a"), flag(2, "b")], "10@k", accepted.requestId);
      await store.ready({ timeout: 5000 });
      return { client, store, ...accepted };
    }

    const key = (credential = null, selection = {}) => storageKey(wire.url(server), selection, credential);

    test("resumes after the saved id, so that only missed events are sent (tc-cache-resume)", async () => {
      const memory = new Memory();
      (await run(memory)).client.close();
      assert.equal(memory.saves.length, 1);
      const store = new FlagStore(connect(), { persistence: memory });
      assert.deepEqual([store.status, store.source, store.get("a").enabled, store.size, store.position], ["STALE", "cache", false, 2, "10"]);
      const changes = [];
      store.onChange((list) => changes.push(...list.map(({ kind, key }) => `${kind} ${key}`)));
      const { peer, lastEventId, snapshot } = await wire.accept(server, { position: "12" });
      assert.deepEqual([lastEventId, snapshot], ["10@k", false]);
      assert.equal(store.status, "STALE");
      wire.event(peer, event("flag_updated", "12-0@k", flag(1, "a", { enabled: true })));
      await store.ready({ timeout: 5000 });
      assert.deepEqual([store.source, store.get("a").enabled], ["server", true]);
      await until(() => changes.length === 1);
      assert.deepEqual(changes, ["updated a"]);
    });

    test("a server that has lost the id replaces the cache (tc-cache-resume)", async () => {
      const memory = new Memory();
      (await run(memory)).client.close();
      const store = new FlagStore(connect(), { persistence: memory });
      const { peer } = await wire.accept(server, { position: "3", id: "3@new" });
      wire.resync(peer, "log_replaced", [flag(2, "b", { enabled: true })], "3@new");
      await store.ready({ timeout: 5000 });
      assert.deepEqual([store.size, store.get("b").enabled, store.source, store.lastEventId], [1, true, "server", "3@new"]);
    });

    test("saves at most once a second, an id alone once a minute, and at close (tc-cache-pace)", async () => {
      const memory = new Memory();
      const { client, store, peer } = await run(memory);
      clock.advance(0);
      await until(() => memory.saves.length === 1, "the first state");
      for (let n = 11; n <= 14; n++) wire.event(peer, event("flag_updated", `${n}-0@k`, flag(1, "a", { notes: String(n) })));
      await until(() => store.position === "14");
      clock.advance(999);
      await sleepUntilIdle();
      assert.equal(memory.saves.length, 1);
      clock.advance(1);
      await until(() => memory.saves.length === 2, "the second state");
      assert.equal(memory.saves[1].flags.find((one) => one.key === "a").notes, "14");
      wire.heartbeat(peer, "20@k");
      await until(() => store.position === "20");
      clock.advance(59_000);
      await sleepUntilIdle();
      assert.equal(memory.saves.length, 2);
      clock.advance(1000);
      await until(() => memory.saves.length === 3, "the id");
      wire.event(peer, event("flag_deleted", "21-0@k", flag(2, "b")));
      await until(() => store.size === 1);
      client.close();
      assert.equal(memory.saves.length, 4);
      assert.deepEqual([memory.saves[3].position, memory.saves[3].flags.length], ["21", 1]);
      assert.deepEqual(clock.waits, []);
    });

    test("what the server has not confirmed is not saved (tc-cache-pace)", async () => {
      const memory = new Memory();
      const client = connect();
      new FlagStore(client, { persistence: memory, bootstrap: [flag(1, "a")] });
      await wire.accept(server);
      client.close();
      assert.deepEqual(memory.saves, []);
    });

    test("another key, another selection and another user have their own flags (tc-cache-other-key)", async () => {
      const memory = new Memory();
      const first = await run(memory, { apiKey: "one" });
      first.client.close();
      assert.deepEqual([...memory.texts.keys()], [key("one")]);
      assert.equal(new FlagStore(connect({ apiKey: "two" }), { persistence: memory }).status, "INITIALIZING");
      assert.equal(new FlagStore(connect({ apiKey: "one" }), { persistence: memory, flags: ["a"] }).status, "INITIALIZING");
      assert.equal(new FlagStore(connect({ apiKey: "one" }), { persistence: memory }).status, "STALE");
      const renewed = { persistence: memory, cacheIdentity: "ann" };
      assert.equal(new FlagStore(connect({ apiKey: () => "changes" }), renewed).status, "INITIALIZING");
      memory.texts.set(key("ann"), savedText(key("ann"), Date.now(), "10@k", [flag(1, "a")]));
      assert.equal(new FlagStore(connect({ apiKey: () => "changes" }), renewed).status, "STALE");
      // What lies under another user's key is not believed either.
      memory.texts.set(key("two"), memory.texts.get(key("one")));
      assert.equal(new FlagStore(connect({ apiKey: "two" }), { persistence: memory }).status, "INITIALIZING");
      assert.deepEqual(errors.map(({ reason }) => reason), ["other_key"]);
    });

    test("a key from a function is asked for once, for the cache and the first connection (tc-cache-other-key)", async () => {
      const memory = new Memory();
      let calls = 0;
      const apiKey = async () => { calls++; return "made"; };
      memory.texts.set(key("made"), savedText(key("made"), Date.now(), "10@k", [flag(1, "a")]));
      const client = connect({ apiKey, start: false });
      const store = new FlagStore(client, { persistence: memory });
      await sleepUntilIdle();
      assert.deepEqual([calls, store.status], [0, "INITIALIZING"]);
      client.start();
      const { peer, lastEventId } = await wire.accept(server);
      assert.deepEqual([calls, lastEventId, peer.header("x-api-key")], [1, "10@k", "made"]);
      await store.ready({ timeout: 5000 });
      assert.equal(store.source, "server");
    });

    test("a damaged, newer or old cache is ignored and reported (tc-cache-damaged)", async () => {
      const good = savedText(key(), Date.now(), "10@k", [flag(1, "a")]);
      const cases = {
        not_json: good.slice(0, -9), format: good.replace('"format":1', '"format":2'), digest: good.replace('"enabled":false', '"enabled":true'),
        too_old: savedText(key(), Date.now() - 31 * 86_400_000, "10@k", []), in_the_future: savedText(key(), Date.now() + 3_600_000, "10@k", []), wrong_types: "[]",
      };
      for (const [reason, text] of Object.entries(cases)) {
        const persistence = { load: () => text, save: () => undefined };
        assert.equal(new FlagStore(connect({ start: false }), { persistence }).status, "INITIALIZING");
        const error = errors.pop();
        assert.ok(error instanceof SavedFlagsIgnored);
        assert.equal(error.reason, reason);
      }
      assert.equal(new FlagStore(connect({ start: false }), { persistence: { load: () => good, save: () => undefined } }).status, "STALE");
      assert.deepEqual(errors, []);
    });

    test("what a persistence raises is reported once per cause and disturbs nothing (tc-persistence-raises)", async () => {
      let saves = 0;
      const broken = { load: () => { throw new Error("no disk"); }, save: () => Promise.reject(Object.assign(new Error(`no access to ${++saves}`), { code: "EACCES" })) };
      const { client, store, peer } = await run(broken);
      for (let n = 11; n <= 13; n++) {
        clock.advance(1000);
        wire.event(peer, event("flag_updated", `${n}-0@k`, flag(1, "a", { notes: String(n) })));
        await until(() => store.position === String(n));
      }
      clock.advance(1000);
      await until(() => errors.length === 2 && saves > 2);
      client.close();
      await sleepUntilIdle();
      assert.deepEqual(errors.map(({ message }) => message), ["the flags cannot be kept: no disk", "the flags cannot be kept: no access to 1"]);
    });

    test("a persistence that never answers does not keep the client from connecting (tc-persistence-raises)", async () => {
      const store = new FlagStore(connect(), { persistence: { load: () => new Promise(() => undefined), save: () => undefined } });
      await until(() => clock.waits.length === 1);
      clock.advance(2000);
      const accepted = await wire.accept(server);
      wire.snapshot(accepted.peer, [flag(1, "a")], "10@k", accepted.requestId);
      await store.ready({ timeout: 5000 });
      assert.match(errors[0].message, /did not answer within 2000 ms/);
    });

    test("files: whole, private, one per key (tc-cache-file)", async () => {
      const folder = join(directory, "made");
      const persistence = new FilePersistence(folder);
      const old = join(folder, `flagent-${"0".repeat(32)}.json.1-ab.tmp`);
      const first = await run(persistence, { apiKey: "k" });
      clock.advance(0);
      const file = join(folder, `flagent-${key("k").slice(0, 32)}.json`);
      await until(() => existsSync(file), "the file");
      assert.equal(statSync(file).mode & 0o777, 0o600);
      assert.equal(statSync(folder).mode & 0o777, 0o700);
      assert.equal(JSON.parse(readFileSync(file, "utf8")).id, "10@k");
      first.client.close();
      writeFileSync(old, "{");
      utimesSync(old, new Date(0), new Date(0));
      await new FilePersistence(folder).save(key("other"), "{}");
      assert.deepEqual(readdirSync(folder).sort(), [file.slice(folder.length + 1), `flagent-${key("other").slice(0, 32)}.json`].sort());
      const store = new FlagStore(connect({ apiKey: "k", start: false }), { persistence: new FilePersistence(folder) });
      assert.deepEqual([store.status, store.size], ["STALE", 2]);
    });

    test("a directory that cannot be written is reported once (tc-cache-unwritable)", async () => {
      const blocked = join(directory, "file");
      writeFileSync(blocked, "");
      const { store, peer } = await run(new FilePersistence(blocked));
      for (let n = 11; n <= 13; n++) {
        clock.advance(1000);
        await sleepUntilIdle();
        wire.event(peer, event("flag_updated", `${n}-0@k`, flag(1, "a", { notes: String(n) })));
        await until(() => store.position === String(n));
      }
      await until(() => errors.length > 0);
      assert.equal(new Set(errors.map(({ message }) => message)).size, errors.length);
      assert.equal(store.status, "READY");
    });

    test("a full disk is reported once, the older file stays whole, and the store saves again when there is space (tc-cache-full)", { skip: NO_DISK }, async (t) => {
      const disk = join(directory, "disk");
      mkdirSync(disk);
      const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], { encoding: "utf8" });
      if (mounted.status !== 0) return t.skip(`a small disk cannot be mounted here: ${mounted.stderr}`);
      try {
        const files = new FilePersistence(disk);
        let saves = 0;
        const counted = { load: (name) => files.load(name), save: (name, text) => files.save(name, text).finally(() => { saves++; }) };
        const { client, store, peer } = await run(counted);
        const saved = () => JSON.parse(files.load(key()) ?? "{}").position;
        const change = async (n) => {
          const before = saves;
          wire.event(peer, event("flag_updated", `${n}-0@k`, flag(1, "a", { notes: String(n) })));
          await until(() => store.position === String(n));
          clock.advance(1000);
          await until(() => saves > before, `the save of ${n}`);
        };
        clock.advance(0);
        await until(() => saves > 0 && saved() === "10", "the first state is saved");
        assert.throws(() => writeFileSync(join(disk, "other"), Buffer.alloc(1 << 20)), { code: "ENOSPC" });
        for (const n of [11, 12, 13]) await change(n);
        assert.deepEqual([store.position, store.status, saved()], ["13", "READY", "10"]);
        assert.equal(readdirSync(disk).length, 2);
        rmSync(join(disk, "other"));
        await change(14);
        assert.equal(saved(), "14");
        client.close();
        await sleepUntilIdle();
        assert.equal(errors.length, 1);
        assert.match(errors[0].message, /^the flags cannot be kept: ENOSPC/);
      } finally {
        assert.equal(spawnSync("umount", ["-l", disk]).status, 0);
      }
    });

    test("two stores of one client resume from the lower id (tc-cache-two-stores)", async () => {
      const memory = new Memory();
      memory.texts.set(key(), savedText(key(), Date.now(), "12@k", [flag(1, "a"), flag(2, "b")]));
      memory.texts.set(key(null, { flags: ["a"] }), savedText(key(null, { flags: ["a"] }), Date.now(), "10@k", [flag(1, "a")]));
      const client = connect();
      const [all, one] = [new FlagStore(client, { persistence: memory }), new FlagStore(client, { persistence: memory, flags: ["a"] })];
      const { peer, lastEventId } = await wire.accept(server, { position: "12" });
      assert.equal(lastEventId, "10@k");
      wire.event(peer, event("flag_updated", "11-0@k", flag(1, "a", { notes: "11" })));
      wire.heartbeat(peer, "12@k");
      await Promise.all([all.ready({ timeout: 5000 }), one.ready({ timeout: 5000 })]);
      assert.deepEqual([all.get("a").notes, one.get("a").notes], [null, "11"], "the store at 12 has seen the change at 11");
    });

    test("begins with a bootstrap, and takes the newer of both (tc-bootstrap)", async () => {
      const bootstrap = { type: "snapshot", id: "20@k", position: "20", flags: [flag(1, "a", { enabled: true })] };
      const memory = new Memory();
      memory.texts.set(key(), savedText(key(), Date.now(), "10@k", [flag(1, "a")]));
      const store = new FlagStore(connect(), { bootstrap: JSON.stringify(bootstrap), persistence: memory });
      assert.deepEqual([store.status, store.source, store.get("a").enabled], ["STALE", "bootstrap", true]);
      const { lastEventId } = await wire.accept(server, { position: "20" });
      assert.equal(lastEventId, "20@k");
      await store.ready({ timeout: 5000 });
      const older = new FlagStore(connect({ start: false }), { bootstrap: { ...bootstrap, id: "5@k" }, persistence: memory });
      assert.equal(older.source, "cache");
      const damaged = new FlagStore(connect({ start: false }), { bootstrap: "<!doctype html>" });
      assert.deepEqual([damaged.status, errors.pop().reason], ["INITIALIZING", "not_json"]);
    });

    test("a bootstrap without id needs a snapshot, whose difference is the changes (tc-bootstrap)", async () => {
      const store = new FlagStore(connect(), { bootstrap: [flag(1, "a"), flag(2, "b")] });
      const changes = [];
      store.onChange((list) => changes.push(...list.map(({ kind, key }) => `${kind} ${key}`)));
      const accepted = await wire.accept(server);
      assert.equal(accepted.snapshot, true);
      assert.equal(store.get("a").enabled, false);
      wire.snapshot(accepted.peer, [flag(1, "a", { enabled: true }), flag(2, "b")], "10@k", accepted.requestId);
      await store.ready({ timeout: 5000 });
      await until(() => changes.length > 0);
      assert.deepEqual(changes, ["updated a"]);
    });

    if (name === "SSE") test("takes a bootstrap of a million flags (tc-bootstrap-huge)", () => {
      const flags = Array.from({ length: 1_000_000 }, (_, n) => ({ id: n + 1, key: `f${n}`, enabled: true }));
      const store = new FlagStore(connect({ start: false }), { bootstrap: flags });
      assert.deepEqual([store.size, store.status, store.get("f999999").id], [1_000_000, "STALE", 1_000_000]);
    });

    test("clocks that jump change nothing but a cache's age (tc-clock-jumps)", async (t) => {
      const memory = new Memory();
      const { client, store, peer } = await run(memory);
      t.mock.timers.enable({ apis: ["Date"], now: Date.now() - 86_400_000 });
      wire.event(peer, event("flag_updated", "11-0@k", flag(1, "a", { enabled: true })));
      await until(() => store.position === "11");
      assert.equal(store.status, "READY");
      client.close();
      t.mock.timers.setTime(Date.now() + 86_400_000);
      assert.equal(new FlagStore(connect({ start: false }), { persistence: memory }).status, "STALE");
    });

    test("a server that answers garbage leaves the known flags readable (tc-garbage)", async () => {
      const store = new FlagStore(connect({ maxMessageBytes: 10_000 }), { bootstrap: [flag(1, "a")] });
      const { peer } = await wire.accept(server);
      wire.malformed(peer);
      wire.snapshot(peer, [{ key: 7 }], "10@k");
      await until(() => errors.length >= 2);
      if (name === "SSE") peer.write(`data: ${"x".repeat(20_000)}`);
      else peer.frame(1, "x".repeat(20_000));
      const state = () => clients[0].state;
      await until(() => state() === "reconnecting");
      clock.advance(1);
      (await server.next()).socket.end("\0\xff not HTTP at all\r\n\r\n");
      await until(() => state() === "reconnecting");
      clock.advance(10);
      (await server.next()).answer(200, { "Content-Type": "text/html" }, "<h1>Please log in</h1>");
      await until(() => state() === "failed" || state() === "reconnecting");
      assert.deepEqual([store.get("a").id, store.source], [1, "bootstrap"]);
      assert.notEqual(store.status, "READY");
    });

    test("does not connect before start, and not while offline (tc-lazy tc-offline)", async () => {
      const memory = new Memory();
      const client = connect({ start: false });
      const store = new FlagStore(client, { persistence: memory, bootstrap: [flag(1, "a")] });
      client.subscribeAll(() => undefined);
      await sleepUntilIdle();
      assert.deepEqual([server.peers.length, client.isOffline, store.status], [0, true, "STALE"]);
      await assert.rejects(store.ready(), (error) => error instanceof NotReady && /offline; call start/.test(error.message));
      client.start();
      client.start();
      const accepted = await wire.accept(server);
      wire.snapshot(accepted.peer, [flag(1, "a", { enabled: true })], "10@k", accepted.requestId);
      await store.ready({ timeout: 5000 });
      client.offline();
      client.offline();
      await until(() => server.open === 0, "disconnected");
      assert.deepEqual([store.status, store.get("a").enabled, memory.saves.length], ["STALE", true, 1]);
      await store.ready();
      client.start();
      const again = await wire.accept(server);
      assert.equal(again.lastEventId, "10@k");
      await until(() => store.status === "READY");
      assert.equal(server.peers.length, 2);
    });

    test("starting and closing twice, and closing while connecting, leave nothing (tc-start-twice tc-close-while-connecting)", async () => {
      const client = connect();
      const store = new FlagStore(client);
      client.start();
      await server.next();
      client.close();
      client.close();
      client.start();
      client.offline();
      await until(() => server.open === 0);
      assert.deepEqual([server.peers.length, clock.waits.length, store.status, client.state], [1, 0, "CLOSED", "closed"]);
      const second = connect({ start: false });
      second.close();
      second.start();
      await sleepUntilIdle();
      assert.equal(server.peers.length, 1);
    });

    test("ready ends with an error on a 401, a redirect loop, and a captive portal (tc-ready-never-hangs)", async () => {
      const answers = { 401: (peer) => peer.answer(401), 302: (peer) => peer.answer(302, { Location: peer.url.pathname }), 200: (peer) => peer.answer(200, { "Content-Type": "text/html" }, "<h1>Log in</h1>") };
      for (const [status, answer] of Object.entries(answers)) {
        const store = new FlagStore(connect());
        let isOver = false;
        const ended = assert.rejects(store.ready({ timeout: 5000 }), ConnectionRefused).finally(() => { isOver = true; });
        while (!isOver) {
          if (server.peers[server.taken]?.head) answer(server.peers[server.taken++]);
          await sleepUntilIdle();
        }
        await ended;
        assert.equal(store.status, "ERROR", status);
      }
      const store = new FlagStore(connect());
      await assert.rejects(store.ready({ timeout: 20 }), NotReady);
    });

    test("says where the store is, and waits for a position (tc-position tc-wait-for)", async () => {
      const store = new FlagStore(connect());
      assert.equal(store.position, null);
      const before = store.waitFor("10");
      const accepted = await wire.accept(server);
      wire.snapshot(accepted.peer, [flag(1, "a")], "10@k", accepted.requestId);
      await before;
      assert.equal(store.position, "10");
      await Promise.all([store.waitFor(10), store.waitFor(9n), store.waitFor("10@k")]);
      const waiting = [store.waitFor("11-1@k"), store.waitFor("11")];
      wire.event(accepted.peer, event("flag_updated", "11-0@k", flag(1, "a", { enabled: true })));
      await waiting[1];
      assert.equal(store.get("a").enabled, true);
      wire.event(accepted.peer, event("flag_enabled", "11-1@k", flag(1, "a", { enabled: true })));
      await waiting[0];
      const later = store.waitFor("20");
      wire.heartbeat(accepted.peer, "20@k");
      await later;
      await assert.rejects(store.waitFor("21", { timeout: 20 }), /the store is at 20, not at 21, after 20 ms/);
      await assert.rejects(store.waitFor("21@other"), /another change log/);
      for (const bad of ["", "-1", "next", 1.5]) await assert.rejects(store.waitFor(bad), RangeError);
      const closed = assert.rejects(store.waitFor("99"), /closed/);
      clients[0].close();
      await closed;
    });

    test("a request waits for the position of its baggage, and passes the later one on (tc-baggage)", async () => {
      const store = new FlagStore(connect());
      const accepted = await wire.accept(server);
      wire.snapshot(accepted.peer, [flag(1, "a")], "10@k", accepted.requestId);
      await store.ready({ timeout: 5000 });
      const request = { headers: { baggage: "user=7,flagent-position=11-0@k" } };
      let isCalled = false;
      const handled = new Promise((resolve) => awaitBaggage(store, { timeout: 5000 })(request, null, () => { isCalled = true; resolve(); }));
      await sleepUntilIdle();
      assert.equal(isCalled, false);
      assert.deepEqual(baggageHeaders(store, request), { baggage: "user=7,flagent-position=11-0@k" });
      wire.event(accepted.peer, event("flag_updated", "11-0@k", flag(1, "a", { enabled: true })));
      await handled;
      for (const headers of [{}, { baggage: "flagent-position=junk" }, { baggage: ["flagent-position=5@k", "x=y"] }]) {
        await new Promise((resolve) => awaitBaggage(store)({ headers }, null, resolve));
      }
      await new Promise((resolve) => awaitBaggage(store, { timeout: 10 })({ headers: { baggage: "flagent-position=99@k" } }, null, resolve));
      assert.deepEqual(baggageHeaders(store), { baggage: "flagent-position=11-0@k" });
    });
  });
}

test("localStorage: texts under a name of its own, and a full one raises", () => {
  const items = new Map();
  const storage = { getItem: (name) => items.get(name) ?? null, setItem: (name, text) => items.set(name, text) };
  const persistence = new LocalStoragePersistence(storage);
  assert.equal(persistence.load("k"), null);
  persistence.save("k", "text");
  assert.deepEqual([persistence.load("k"), [...items.keys()]], ["text", ["flagent:k"]]);
});

const WRITER = `
  import { FilePersistence } from "${new URL("../dist/file-persistence.js", import.meta.url)}";
  import { savedText } from "${new URL("../dist/core/saved-flags.js", import.meta.url)}";
  const [directory, key, name] = process.argv.slice(1);
  const persistence = new FilePersistence(directory);
  const flags = Array.from({ length: 500 }, (_, n) => ({ id: n + 1, key: "f" + n, notes: name.repeat(50) }));
  for (let n = 1; ; n++) {
    await persistence.save(key, savedText(key, Date.now(), n + "@k", flags));
    if (n === 1) process.stdout.write("x");
  }
`;

describe("killed and concurrent writers", () => {
  const key = "ab".repeat(32);
  let directory;
  beforeEach(() => { directory = mkdtempSync(join(tmpdir(), "flagent-kill-")); });
  afterEach(() => rmSync(directory, { recursive: true }));

  const writer = async (name) => {
    const child = spawn(process.execPath, ["--input-type=module", "-e", WRITER, directory, key, name], { stdio: ["ignore", "pipe", "inherit"] });
    await new Promise((resolve) => child.stdout.once("data", resolve));
    return child;
  };
  const kill = (child) => new Promise((resolve) => {
    child.once("exit", resolve);
    child.kill("SIGKILL");
  });
  const whole = () => {
    const { id, flags } = JSON.parse(new FilePersistence(directory).load(key));
    assert.equal(flags.length, 500);
    return id;
  };

  test("killed a hundred times in the middle of a write, the next start has the old or the new state (tc-cache-kill)", async () => {
    for (let n = 0; n < 100; n += 4) {
      const children = await Promise.all(["a", "b", "c", "d"].map(writer));
      for (const child of children) {
        await new Promise((resolve) => setTimeout(resolve, (n * 7) % 30));
        await kill(child);
        whole();
      }
    }
    assert.ok(readdirSync(directory).some((name) => name.endsWith(".tmp")), "no process was killed in the middle of a write");
  });

  test("two processes on one directory: whoever reads gets a whole state (tc-cache-two-processes)", async () => {
    const children = [await writer("a"), await writer("b")];
    try {
      const ids = new Set();
      for (let n = 0; n < 200; n++) {
        ids.add(whole());
        await new Promise((resolve) => setImmediate(resolve));
      }
      assert.ok(ids.size > 1);
    } finally {
      for (const child of children) await kill(child);
    }
  });
});
