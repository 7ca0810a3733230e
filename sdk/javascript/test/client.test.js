// Both clients against a server that each test scripts.
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";
import { EventType, FlagentSSEClient, FlagentWebSocketClient, FlagStore } from "../dist/index.js";
import { LocalEvaluation } from "../dist/evaluation.js";
import { digestOf } from "../dist/core/digest.js";
import { event, FakeClock, flag, ScriptedServer, transports, until } from "./harness.js";

for (const [name, Client] of [["WebSocket", FlagentWebSocketClient], ["SSE", FlagentSSEClient]]) {
  describe(`${name} client`, () => {
    const wire = transports[name];
    let server;
    let clock;
    let client;
    let errors;

    beforeEach(async () => {
      server = await ScriptedServer.start();
      clock = new FakeClock();
    });

    afterEach(async () => {
      client?.close();
      await server.stop();
    });

    function connect(options = {}) {
      client = new Client({ url: wire.url(server), clock, ...options });
      errors = [];
      client.onError((error) => errors.push(error));
      return client;
    }

    /** A store that is ready with these flags at position 10. */
    async function ready(flags = [flag(1, "a"), flag(2, "b")], options) {
      const store = new FlagStore(connect(options));
      const accepted = await wire.accept(server);
      assert.equal(accepted.snapshot, true);
      wire.snapshot(accepted.peer, flags, "10@k", accepted.requestId);
      await store.ready({ timeout: 5000 });
      return { store, peer: accepted.peer };
    }

    test("keeps a live copy", async () => {
      const { store, peer } = await ready();
      assert.equal(store.get("a").enabled, false);
      const changes = [];
      store.onChange((list) => changes.push(...list.map(({ kind, key }) => [kind, key])));
      wire.event(peer, event("flag_updated", "11-0@k", flag(1, "a", { enabled: true })));
      wire.event(peer, event("flag_enabled", "11-1@k", flag(1, "a", { enabled: true })));
      wire.event(peer, event("flag_deleted", "12-0@k", flag(2, "b")));
      wire.batch(peer, [event("flag_created", "13-0@k", flag(3, "c")), event("flag_updated", "14-0@k", flag(3, "c", { notes: "x" }))]);
      await until(() => store.lastEventId === "14-0@k");
      assert.deepEqual([...store].map(({ key }) => key), ["a", "c"]);
      assert.equal(store.get("a").enabled, true);
      assert.equal(store.size, 2);
      await until(() => changes.length === 3);
      assert.deepEqual(changes, [["updated", "a"], ["deleted", "b"], ["created", "c"]]);
    });

    test("sends the key as a header, and selections (tc-key tc-sse-request tc-ws-subscribe)", async () => {
      connect({ apiKey: "s3cret" });
      client.subscribe("a", () => undefined);
      client.subscribeTags(["t"], () => undefined);
      const { peer } = await wire.accept(server);
      assert.equal(peer.header("x-api-key"), "s3cret");
      assert.doesNotMatch(peer.head.split("\r\n")[0], /s3cret/);
      if (name === "SSE") {
        assert.deepEqual([...peer.url.searchParams], [["envelope", "true"], ["flag", "a"], ["tag", "t"], ["snapshot", "true"]]);
        assert.equal(peer.header("accept"), "text/event-stream");
      } else {
        const { type, flags, tags, subscribeAll } = peer.messages[0];
        assert.deepEqual({ type, flags, tags, subscribeAll }, { type: "subscribe", flags: ["a"], tags: ["t"], subscribeAll: undefined });
      }
    });

    test("a store that joins while the connection is being opened receives a snapshot", async () => {
      connect().subscribeAll(() => undefined);
      const peer = await server.next();
      if (name === "WebSocket") peer.upgrade();
      const asked = name === "WebSocket" ? await peer.message("subscribe") : null;
      const store = new FlagStore(client);
      await new Promise((resolve) => setTimeout(resolve, 0));
      const answer = await wire.snapshotRequest(server, peer);
      if (asked === null) peer.startStream();
      else peer.send({ type: "subscribed", requestId: asked.requestId, position: "10", id: "10@k", fresh: true, ageMs: 1, selections: [] });
      await answer([flag(1, "a")], "10@k");
      await store.ready({ timeout: 5000 });
    });

    if (name === "WebSocket") test("a large selection is sent in parts; a resume and a snapshot select everything for a moment (tc-many-selectors)", async () => {
      connect({ reconnectConfig: { initialDelay: 1 } });
      const keys = Array.from({ length: 2500 }, (_, n) => `${"k".repeat(100)}${n}`);
      const calls = [];
      const subscriptions = keys.map((key) => client.subscribeFlag(key, (one) => calls.push(one.key)));
      const events = [];
      client.subscribe({ tags: ["t"] }, ({ flagKey }) => events.push(flagKey));
      for (const start of [{ snapshot: true }, { lastEventId: "10@k" }]) {
        const { peer, requestId } = await wire.accept(server);
        await peer.message("unsubscribe");
        const sent = peer.messages.map(({ requestId: _, ...message }) => message);
        assert.deepEqual(sent[0], { type: "subscribe", subscribeAll: true, ...start });
        assert.deepEqual(sent.at(-1), { type: "unsubscribe", subscribeAll: true });
        const divided = sent.slice(1, -1);
        assert.deepEqual(divided.flatMap(({ flags = [] }) => flags), keys);
        assert.deepEqual(divided.flatMap(({ tags = [] }) => tags), ["t"]);
        for (const part of divided) {
          assert.equal(part.type, "subscribe");
          assert.ok((part.flags?.length ?? 0) <= 1000 && JSON.stringify(part).length <= 66_000);
        }
        if (start.snapshot) {
          wire.snapshot(peer, [flag(1, keys[0]), flag(2, "other")], "10@k", requestId);
          await until(() => calls.length === 1);
          peer.socket.destroy();
          await until(() => client.state === "reconnecting");
          clock.advance(1);
        } else {
          wire.event(peer, event("flag_updated", "11-0@k", flag(2, "other", { enabled: true })));
          wire.event(peer, event("flag_updated", "12-0@k", flag(3, keys[2499], { enabled: true })));
          await until(() => calls.length === 2);
          assert.deepEqual(calls, [keys[0], keys[2499]]);
          assert.deepEqual(events, []);
          for (const one of subscriptions.slice(0, 1500)) one.unsubscribe();
          const gone = () => peer.messages.slice(sent.length).filter(({ type }) => type === "unsubscribe");
          await until(() => gone().flatMap(({ flags }) => flags).length === 1500);
          assert.ok(gone().every(({ flags }) => flags.length <= 1000));
        }
      }
    });

    test("what exceeds a limit is refused at once, and what was subscribed before stays (tc-selection-limits)", async () => {
      const limit = name === "WebSocket" ? 9999 : 1000;
      connect();
      for (let n = 0; n < limit - 1; n++) client.subscribeFlag(`f${n}`, () => undefined);
      const store = new FlagStore(client, { flags: ["last", "f1"] });
      client.subscribeFlag("f1", () => undefined);
      for (const refused of [
        () => client.subscribeFlag("one more", () => undefined), () => client.subscribeTags(["t"], () => undefined),
        () => client.subscribeSegments(() => undefined), () => new FlagStore(client, { flagIDs: [1] }),
      ]) assert.throws(refused, new RegExp(`^RangeError: this client would select ${limit + 1} .* limit .* ${limit}[;,]`));
      store.close();
      client.subscribeFlag("one more", () => undefined);
      for (const refused of [
        () => client.subscribeFlag("k".repeat(257), () => undefined), () => client.subscribe({ tables: [""] }, () => undefined),
        () => new FlagStore(client, { tags: ["\u{1f6a9}".repeat(257)] }), () => new FlagStore(client, { flagIDs: [2 ** 31] }),
      ]) assert.throws(refused, TypeError);
      client.close();
      connect().subscribe({ tags: ["\u{1f6a9}".repeat(256)] }, () => undefined);
    });

    if (name === "SSE") test("a query that is too long is refused at once (tc-selection-limits)", () => {
      connect();
      for (let n = 0; n < 120; n++) client.subscribeFlag(`${n}`.padStart(4, "0") + "é".repeat(80), () => undefined);
      assert.throws(() => client.subscribeTags(Array.from({ length: 20 }, (_, n) => n + "é".repeat(200)), () => undefined), /^RangeError: .* a query of .* bytes/);
    });

    test("types events and passes unknown ones on", async () => {
      const events = [];
      connect().subscribeAll((one) => events.push(one));
      const { peer, snapshot } = await wire.accept(server);
      assert.equal(snapshot, false);
      const a = flag(1, "a");
      wire.event(peer, event("flag_updated", "11-0@k", a));
      wire.event(peer, event("segment_updated", "11-1@k", a, { segmentID: 3, segment: null }));
      wire.event(peer, event("distribution_updated", "11-2@k", a, { segmentID: 3, distributions: [] }));
      wire.event(peer, event("variant_updated", "11-3@k", a, { variantID: 4, variant: { id: 4, flagID: 1, key: "on", attachment: null } }));
      wire.event(peer, event("flag_deleted", "12-0@k", a));
      wire.event(peer, event("flag_painted", "13-0@k", a, { colour: "red" }));
      await until(() => events.length === 6);
      assert.deepEqual(events.map(({ type }) => type), [
        EventType.FLAG_UPDATED, EventType.SEGMENT_UPDATED, EventType.DISTRIBUTION_UPDATED, EventType.VARIANT_UPDATED, EventType.FLAG_DELETED, EventType.UNKNOWN,
      ]);
      assert.equal(events[5].typeName, "flag_painted");
      assert.deepEqual(events[0].data, a);
      assert.equal(events[1].data, null);
      assert.deepEqual(events[2].data, []);
      assert.equal(events[3].data.key, "on");
      assert.equal(events[4].data, "a");
      assert.equal(events[5].data.colour, "red");
      assert.equal(events[0].committedAt, "2026-11-23T08:00:00.123456Z");
    });

    test("a subscription to a flag receives its state, each difference once, and its deletion (tc-once-per-difference)", async () => {
      connect();
      const seen = [];
      client.subscribe("a", (one) => seen.push([one.enabled, one.archived]));
      const { peer, requestId } = await wire.accept(server);
      wire.snapshot(peer, [flag(1, "a")], "10@k", requestId);
      wire.event(peer, event("flag_updated", "11-0@k", flag(1, "a", { enabled: true })));
      wire.event(peer, event("flag_enabled", "11-1@k", flag(1, "a", { enabled: true })));
      wire.event(peer, event("flag_deleted", "12-0@k", flag(1, "a")));
      await until(() => seen.length === 3);
      assert.deepEqual(seen, [[false, false], [true, false], [false, true]]);
    });

    test("a subscription to tags receives all flags, changes, and a flag that leaves", async () => {
      connect();
      const calls = [];
      client.subscribeTags(["t"], (flags) => calls.push(flags.map(({ key, enabled, tags }) => [key, enabled, tags.length])));
      const { peer, requestId } = await wire.accept(server);
      const tags = [{ id: 1, value: "t" }];
      wire.snapshot(peer, [flag(1, "a", { tags }), flag(2, "b", { tags })], "10@k", requestId);
      wire.event(peer, event("flag_updated", "11-0@k", flag(1, "a", { tags, enabled: true })));
      wire.event(peer, event("flag_updated", "12-0@k", flag(2, "b", { enabled: true })));
      await until(() => calls.length === 3);
      assert.deepEqual(calls, [[["a", false, 1], ["b", false, 1]], [["a", true, 1]], [["b", true, 0]]]);
    });

    test("events go to the subscriptions that select them", async () => {
      connect();
      const received = { a: [], tags: [], segments: [], any: [] };
      client.subscribe({ flags: ["a"] }, ({ id }) => received.a.push(id));
      client.subscribe({ tags: ["t"] }, ({ id }) => received.tags.push(id));
      client.subscribeSegments(({ id }) => received.segments.push(id));
      client.onEvent(({ id }) => received.any.push(id));
      const { peer } = await wire.accept(server);
      const tags = [{ id: 1, value: "t" }];
      wire.event(peer, event("flag_updated", "11-0@k", flag(1, "a")));
      wire.event(peer, event("flag_updated", "12-0@k", flag(2, "b", { tags })));
      wire.event(peer, event("segment_updated", "13-0@k", flag(3, "c"), { segmentID: 1, segment: null }));
      // Its former tags are unknown: the server sent it because it had the tag.
      wire.event(peer, event("flag_updated", "14-0@k", flag(4, "d")));
      wire.event(peer, event("flag_updated", "15-0@k", flag(2, "b")));
      await until(() => received.any.length === 5);
      assert.deepEqual(received.a, ["11-0@k"]);
      assert.deepEqual(received.tags, ["12-0@k", "14-0@k", "15-0@k"]);
      assert.deepEqual(received.segments, ["13-0@k"]);
    });

    test("resumes by the last id and drops what the server repeats (tc-resume tc-duplicate)", async () => {
      const { store, peer } = await ready();
      const events = [];
      client.subscribeAll(({ id }) => events.push(id));
      wire.event(peer, event("flag_updated", "11-0@k", flag(1, "a", { notes: "1" })));
      await until(() => events.length === 1);
      peer.socket.destroy();
      await until(() => client.state === "reconnecting");
      assert.equal(store.status, "STALE");
      clock.advance(1000);
      const again = await wire.accept(server, { position: "13" });
      assert.equal(again.lastEventId, "11-0@k");
      assert.equal(again.snapshot, false);
      wire.event(again.peer, event("flag_updated", "11-0@k", flag(1, "a", { notes: "1" })));
      wire.event(again.peer, event("flag_updated", "12-0@k", flag(1, "a", { notes: "2" })));
      wire.event(again.peer, event("flag_updated", "13-0@k", flag(1, "a", { notes: "3" })));
      await until(() => store.status === "READY");
      assert.equal(store.get("a").notes, "3");
      await until(() => events.length === 3);
      assert.deepEqual(events, ["11-0@k", "12-0@k", "13-0@k"]);
    });

    test("a keep-alive moves the id to resume after (tc-keep-alive)", async () => {
      const { store, peer } = await ready();
      wire.heartbeat(peer, "500@k");
      await until(() => store.lastEventId === "500@k");
      peer.socket.destroy();
      await until(() => client.state === "reconnecting");
      clock.advance(1000);
      assert.equal((await wire.accept(server, { position: "500" })).lastEventId, "500@k");
    });

    test("a resync replaces the state and calls onResync (tc-resync)", async () => {
      const { store, peer } = await ready();
      const resyncs = [];
      client.onResync(({ reason, flags }) => resyncs.push([reason, flags.length]));
      wire.resync(peer, "log_replaced", [flag(1, "a", { enabled: true })], "3@z");
      await until(() => store.lastEventId === "3@z");
      assert.deepEqual(store.all(), [flag(1, "a", { enabled: true })]);
      assert.equal(store.status, "READY");
      await until(() => resyncs.length === 1);
      assert.deepEqual(resyncs, [["log_replaced", 1]]);
      peer.socket.destroy();
      await until(() => client.state === "reconnecting");
      clock.advance(1000);
      assert.equal((await wire.accept(server)).lastEventId, "3@z");
    });

    test("a malformed message is reported and skipped (tc-malformed)", async () => {
      const { store, peer } = await ready();
      wire.malformed(peer);
      wire.event(peer, { type: "flag_updated", id: "11-0@k", flag: 5 });
      wire.event(peer, event("flag_updated", "12-0@k", flag(1, "a", { enabled: true })));
      await until(() => store.lastEventId === "12-0@k");
      assert.equal(errors.length, 2);
      assert.equal(client.state, "connected");
    });

    test("a snapshot repairs a store whose digest differs (tc-heal)", async () => {
      const { store, peer } = await ready();
      const truth = [flag(1, "a", { notes: "true" }), flag(2, "b")];
      const serve = await wire.snapshotRequest(server, peer);
      wire.heartbeat(peer, "12@k", { digest: digestOf(truth) });
      await until(() => store.status === "STALE");
      wire.event(peer, event("flag_created", "14-0@k", flag(3, "c")));
      const asked = await serve(truth, "13@k");
      if (name === "SSE") assert.deepEqual(asked, { envelope: "true", snapshot: "true" });
      else assert.equal(asked.subscribeAll, true);
      await until(() => store.status === "READY");
      assert.deepEqual(store.all(), [...truth, flag(3, "c")]);
      assert.equal(store.lastEventId, "14-0@k");
    });

    test("a server that cannot confirm freshness makes the store stale", async () => {
      const { store, peer } = await ready();
      const statuses = [];
      store.onStatus((status) => statuses.push(status));
      wire.heartbeat(peer, "10@k", { fresh: false });
      await until(() => store.status === "STALE");
      wire.heartbeat(peer, "10@k");
      await until(() => store.status === "READY");
      await until(() => statuses.length === 2);
      assert.deepEqual(statuses, ["STALE", "READY"]);
    });

    test("silence for 2.5 intervals ends a half-open connection (tc-half-open)", async () => {
      const { store, peer } = await ready();
      if (name === "WebSocket") {
        clock.advance(37_502);
        await peer.message("ping");
      }
      clock.advance(75_002 - clock.time);
      await until(() => client.state === "reconnecting");
      assert.equal(store.status, "STALE");
      clock.advance(1000);
      const again = await wire.accept(server);
      assert.equal(again.lastEventId, "10@k");
      await until(() => store.status === "READY");
      await until(() => peer.isClosed);
    });

    test("an observed interval shortens the wait for silence", async () => {
      const { store, peer } = await ready();
      wire.heartbeat(peer, "11@k");
      await until(() => store.lastEventId === "11@k");
      clock.advance(2000);
      wire.heartbeat(peer, "12@k");
      await until(() => store.lastEventId === "12@k");
      clock.advance(5002);
      await until(() => client.state === "reconnecting");
    });

    test("a server that accepts and sends nothing counts as dead", async () => {
      connect().subscribeAll(() => undefined);
      const peer = await server.next();
      if (name === "WebSocket") peer.upgrade();
      else peer.startStream(false);
      clock.advance(10_001);
      await until(() => client.state === "reconnecting");
      await until(() => peer.isClosed);
    });

    test("waits longer with each failure, and gives up after the last attempt", async () => {
      connect({ reconnectConfig: { maxAttempts: 3, initialDelay: 100, maxDelay: 250, multiplier: 2 } });
      const states = [];
      client.onState((state, error) => states.push([state, error?.constructor.name]));
      const store = new FlagStore(client);
      for (const wait of [100, 200, 250]) {
        (await server.next()).socket.destroy();
        await until(() => client.state === "reconnecting");
        assert.deepEqual(clock.waits, [wait]);
        clock.advance(wait);
      }
      (await server.next()).socket.destroy();
      await until(() => client.state === "failed");
      assert.equal(store.status, "ERROR");
      await assert.rejects(store.ready(), { name: "ReconnectExhausted", message: /^gave up after 3 reconnection attempts: ./ });
      await until(() => states.at(-1)[0] === "failed");
      assert.deepEqual(states.at(-1), ["failed", "ReconnectExhausted"]);
      assert.deepEqual(clock.waits, []);
    });

    test("a restarted server is reconnected (tc-restart)", async () => {
      const { store, peer } = await ready(undefined, { reconnectConfig: { maxAttempts: 0 } });
      const { port } = server;
      await server.stop();
      peer.socket.destroy();
      for (let n = 0; n < 12; n++) {
        await until(() => client.state === "reconnecting");
        clock.advance(60_000);
      }
      await until(() => client.state === "reconnecting");
      await server.listen(port);
      clock.advance(60_000);
      assert.equal((await wire.accept(server)).lastEventId, "10@k");
      await until(() => store.status === "READY");
    });

    // tc-401, tc-403
    for (const status of [401, 403, 404]) {
      test(`${status} ends the client (tc-${status})`, async () => {
        connect({ apiKey: "wrong" });
        const store = new FlagStore(client);
        (await server.next()).answer(status, { "Content-Type": "application/problem+json" }, JSON.stringify({ detail: "No such key." }));
        await until(() => client.state === "failed");
        await assert.rejects(store.ready());
        await until(() => errors.length === 1);
        assert.deepEqual([errors[0].name, errors[0].status, errors[0].cause.status], ["ConnectionRefused", status, status]);
        assert.equal(client.failure, errors[0]);
        if (name === "SSE") assert.match(errors[0].message, /No such key/);
      });
    }

    test("the key function is called once more after a 401 (tc-key-function)", async () => {
      const keys = ["old", "new"];
      connect({ apiKey: async () => keys.shift() }).subscribeAll(() => undefined);
      const first = await server.next();
      assert.equal(first.header("x-api-key"), "old");
      first.answer(401);
      const { peer } = await wire.accept(server);
      assert.equal(peer.header("x-api-key"), "new");
      await until(() => client.state === "connected");
      assert.deepEqual(keys, []);
    });

    test("after a 503 the client waits as long as Retry-After (tc-503)", async () => {
      connect().subscribeAll(() => undefined);
      clock.chance = 0.5;
      (await server.next()).answer(503, { "Retry-After": "30" });
      await until(() => client.state === "reconnecting");
      assert.deepEqual(clock.waits, [30_500]);
      clock.advance(30_500);
      await wire.accept(server);
      await until(() => client.state === "connected");
    });

    test("redirects are followed; the key goes only to the same host (tc-redirect)", async () => {
      const other = await ScriptedServer.start();
      try {
        connect({ apiKey: "s3cret" }).subscribeAll(() => undefined);
        (await server.next()).answer(307, { Location: `${wire.path}?moved=1` });
        const second = await server.next();
        assert.equal(second.url.searchParams.get("moved"), "1");
        assert.equal(second.header("x-api-key"), "s3cret");
        second.answer(302, { Location: wire.url(other).replace("ws:", "http:") });
        const { peer } = await wire.accept(other);
        assert.equal(peer.header("x-api-key"), null);
        await until(() => client.state === "connected");
      } finally {
        client.close();
        await other.stop();
      }
    });

    test("a redirect to a target without a query keeps the selection (tc-redirect)", async () => {
      const store = new FlagStore(connect(), { flags: ["a"] });
      (await server.next()).answer(307, { Location: wire.path });
      const { peer, snapshot, requestId } = await wire.accept(server);
      assert.equal(snapshot, true);
      if (name === "SSE") assert.deepEqual(peer.url.searchParams.getAll("flag"), ["a"]);
      wire.snapshot(peer, [flag(1, "a")], "10@k", requestId);
      await store.ready({ timeout: 5000 });
    });

    test("by default a client gives up after ten attempts, and never while it feeds a store (tc-unlimited)", async () => {
      const attempts = async (count) => {
        for (let n = 0; n < count; n++) {
          (await server.next()).socket.destroy();
          await until(() => client.state === "reconnecting" || client.state === "failed");
          clock.advance(1);
        }
      };
      connect({ reconnectConfig: { initialDelay: 1, maxDelay: 1 } }).subscribeFlag("a", () => undefined);
      await attempts(11);
      assert.equal(client.state, "failed");
      assert.equal(client.failure.name, "ReconnectExhausted");
      const store = new FlagStore(connect({ reconnectConfig: { initialDelay: 1, maxDelay: 1 } }));
      await attempts(20);
      const { peer, requestId } = await wire.accept(server);
      wire.snapshot(peer, [flag(1, "a")], "10@k", requestId);
      await store.ready({ timeout: 5000 });
    });

    test("endless redirects end the client", async () => {
      connect().subscribeAll(() => undefined);
      for (let hop = 0; hop < 6; hop++) (await server.next()).answer(302, { Location: wire.path });
      await until(() => client.state === "failed");
    });

    test("handlers run in order, one at a time; an exception is reported (tc-handler-order tc-handler-raises)", async () => {
      connect();
      const log = [];
      client.subscribeAll(async ({ id }) => {
        log.push(`begin ${id}`);
        await new Promise((resolve) => setTimeout(resolve, 1));
        if (id === "11-0@k") throw new Error("of mine");
        log.push(`end ${id}`);
      });
      const { peer } = await wire.accept(server);
      for (const id of ["11-0@k", "12-0@k", "13-0@k"]) wire.event(peer, event("flag_updated", id, flag(1, "a")));
      await until(() => log.length === 5);
      assert.deepEqual(log, ["begin 11-0@k", "begin 12-0@k", "end 12-0@k", "begin 13-0@k", "end 13-0@k"]);
      assert.deepEqual(errors.map(({ message }) => message), ["of mine"]);
    });

    test("a handler that is too slow makes the client disconnect, and resume without loss (tc-slow-handler)", async () => {
      connect({ queueSize: 10 });
      let release;
      const gate = new Promise((resolve) => { release = resolve; });
      const ids = [];
      client.subscribeAll(async ({ id }) => {
        await gate;
        ids.push(id);
      });
      const { peer } = await wire.accept(server);
      const send = (to, n) => wire.event(to, event("flag_updated", `${n}-0@k`, flag(1, "a", { notes: String(n) })));
      for (let n = 11; n <= 40; n++) send(peer, n);
      await until(() => client.state === "paused");
      await until(() => peer.isClosed);
      assert.ok(client.queuedMessages <= 30);
      release();
      let connections = 0;
      await until(async () => {
        if (server.peers.length > server.taken) {
          const again = await wire.accept(server);
          connections++;
          for (let n = parseInt(again.lastEventId, 10) + 1; n <= 40; n++) send(again.peer, n);
        }
        return ids.length === 30;
      }, "every event");
      assert.ok(connections > 0);
      assert.deepEqual(ids, Array.from({ length: 30 }, (_, n) => `${n + 11}-0@k`));
    });

    test("a second store joins an open connection (tc-subscribe-live)", async () => {
      const { store, peer } = await ready([flag(1, "a")], { });
      const serve = await wire.snapshotRequest(server, peer);
      const second = new FlagStore(client, { flags: ["a"] });
      await serve([flag(1, "a")], "10@k");
      await second.ready({ timeout: 5000 });
      assert.deepEqual(second.all(), store.all());
      wire.event(peer, event("flag_updated", "11-0@k", flag(1, "a", { enabled: true })));
      await until(() => second.get("a").enabled);
      second.close();
      assert.equal(second.status, "CLOSED");
      assert.equal(store.status, "READY");
    });

    test("evaluates from the store without the network", async () => {
      const variants = [{ id: 5, flagID: 1, key: "on", attachment: { colour: "red" } }];
      const distributions = [{ id: 6, segmentID: 4, variantID: 5, variantKey: "on", percent: 100 }];
      const constraints = [{ id: 7, segmentID: 4, property: "country", operator: "IN", value: "US, CA" }];
      const segments = [{ id: 4, flagID: 1, description: null, rank: 0, rolloutPercent: 100, constraints, distributions }];
      const { store } = await ready([flag(1, "a", { enabled: true, variants, segments })]);
      const local = new LocalEvaluation(store);
      assert.equal(local.evaluate("a", "user123", { country: "CA" }).variantKey, "on");
      assert.deepEqual(local.evaluate({ flagKey: "a", entityID: "u", entityContext: { country: "US" } }).variantAttachment, { colour: "red" });
      assert.equal(local.evaluate("a", "u", { country: "DE" }).variantID, null);
      assert.match(local.evaluate("a", "").evalContext.entityID, /^randomly_generated_-?\d+$/);
      assert.equal(local.evaluate("none", "u").flagID, 0);
      const batch = local.evaluateBatch({ entities: [{ entityID: "u", entityContext: { country: "US" } }, { entityID: "v" }], flagKeys: ["a"], flagIDs: [1] });
      assert.deepEqual(batch.map(({ variantKey }) => variantKey), ["on", null, "on", null]);
    });

    test("close ends everything (tc-close)", async () => {
      const { store, peer } = await ready();
      client.close();
      client.close();
      assert.equal(store.status, "CLOSED");
      assert.equal(store.get("a").key, "a");
      await until(() => server.open === 0);
      assert.deepEqual(clock.waits, []);
      assert.throws(() => client.subscribeAll(() => undefined), /closed/);
    });

    test("a message that is too long ends the connection, which resumes (tc-too-big)", async () => {
      const { store, peer } = await ready(undefined, { maxMessageBytes: 5000 });
      wire.event(peer, event("flag_updated", "11-0@k", flag(1, "a", { notes: "x".repeat(6000) })));
      await until(() => client.state === "reconnecting");
      clock.advance(1000);
      assert.equal((await wire.accept(server)).lastEventId, "10@k");
      await until(() => store.status === "READY");
    });

    test("a connection lost before the snapshot requests it again (tc-lost-before-snapshot)", async () => {
      const store = new FlagStore(connect());
      (await wire.accept(server)).peer.socket.destroy();
      await until(() => client.state === "reconnecting");
      assert.equal(store.status, "INITIALIZING");
      clock.advance(1000);
      const { peer, snapshot, lastEventId, requestId } = await wire.accept(server);
      assert.deepEqual([snapshot, lastEventId], [true, null]);
      wire.snapshot(peer, [flag(1, "a")], "11@k", requestId);
      await store.ready({ timeout: 5000 });
    });

    test("ready rejects after its time (tc-ready)", async () => {
      const store = new FlagStore(connect());
      await assert.rejects(store.ready({ timeout: 20 }), { name: "NotReady" });
      const pending = store.ready();
      (await server.next()).socket.destroy();
      await until(() => client.state === "reconnecting");
      await assert.rejects(store.ready({ timeout: 20 }), (error) => {
        assert.match(error.message, /^the store is INITIALIZING after 20 ms: ./);
        return error.name === "NotReady" && error.cause.name === "ConnectionLost" && error.message.endsWith(error.cause.message);
      });
      client.close();
      await assert.rejects(pending, { name: "ClientClosed" });
    });

    test("close ends the wait for the next attempt (tc-close-while-waiting)", async () => {
      connect().subscribeAll(() => undefined);
      (await server.next()).socket.destroy();
      await until(() => client.state === "reconnecting");
      client.close();
      assert.deepEqual(clock.waits, []);
    });

    test("no handler runs after close inside a handler (tc-close-in-handler)", async () => {
      connect();
      const ids = [];
      client.subscribeAll(({ id }) => {
        ids.push(id);
        client.close();
      });
      const { peer } = await wire.accept(server);
      for (const n of [11, 12, 13]) wire.event(peer, event("flag_updated", `${n}-0@k`, flag(1, "a")));
      await until(() => server.open === 0);
      assert.deepEqual(ids, ["11-0@k"]);
    });

    if (name === "SSE") {
      test("the server's retry is the minimum wait (tc-retry)", async () => {
        connect().subscribeAll(() => undefined);
        const { peer } = await wire.accept(server, { retry: 3120 });
        await until(() => client.state === "connected");
        peer.socket.destroy();
        await until(() => client.state === "reconnecting");
        assert.deepEqual(clock.waits, [3120]);
      });
    }

    test("close while connecting ends everything too", async () => {
      connect().subscribeAll(() => undefined);
      const peer = await server.next();
      client.close();
      await until(() => peer.isClosed);
      assert.deepEqual(clock.waits, []);
    });

    test("rejects invalid arguments at once", () => {
      assert.throws(() => new Client({ url: "nonsense" }), /url is "nonsense"/);
      assert.throws(() => new Client({ url: "ftp://host/" }), /must be an absolute URL that begins with/);
      assert.throws(() => new Client({ url: wire.url(server), reconnectConfig: { maxAttempts: -1 } }), /maxAttempts is -1/);
      connect();
      assert.throws(() => client.subscribe("a"), /handler/);
      assert.throws(() => client.subscribe("", () => undefined), /flags contains ""/);
      assert.throws(() => client.subscribeTags([], () => undefined), /at least one tag/);
      assert.throws(() => new FlagStore(client, { segments: true }), /a store selects flags/);
    });
  });
}
