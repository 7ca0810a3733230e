// The client that chooses its transport, against a server that each test scripts.
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";
import { FlagentClient, FlagStore, RequestFailed } from "../dist/index.js";
import { event, FakeClock, flag, ScriptedServer, transports, until } from "./harness.js";

const { WebSocket: socket, SSE: stream } = transports;
const FIVE_MINUTES = 300_000;

describe("FlagentClient", () => {
  let server;
  let clock;
  let client;
  let errors;
  let states;

  beforeEach(async () => {
    server = await ScriptedServer.start();
    clock = new FakeClock();
    errors = [];
    states = [];
  });

  afterEach(async () => {
    client?.close();
    assert.deepEqual(clock.waits, [], "no timer is left");
    await server.stop();
  });

  function connect(options = {}) {
    client = new FlagentClient(`http://127.0.0.1:${server.port}/team/`, { clock, reconnectConfig: { initialDelay: 1 }, ...options });
    client.onError((error) => errors.push(error));
    client.onState((state) => states.push(state));
    return client;
  }

  /** The next request, which must be for this path. */
  async function next(path) {
    const peer = await server.next();
    assert.equal(peer.url.pathname, path);
    return peer;
  }

  /** Lets the wait before the next attempt pass, and nothing else. */
  const retry = async () => {
    await until(() => client.state === "reconnecting", "the wait for the next attempt");
    clock.advance(clock.waits[0]);
  };

  /** Lets time pass once a timer waits for it. */
  const after = async (ms) => {
    await until(() => clock.waits.includes(ms), `a timer of ${ms} ms`);
    clock.advance(ms);
  };

  const refuse = async (path, status = 404) => (await next(path)).answer(status, { "Content-Type": "application/problem+json" }, JSON.stringify({ detail: "no way" }));
  const WS = "/team/ws";
  const SSE = "/team/api/v1/events/stream";
  const POLL = "/team/api/v1/snapshot";

  const snapshotOf = (flags, id) => JSON.stringify({ type: "snapshot", id, position: id.split("@")[0], flags });
  const poll = async (flags, id, headers = {}) => {
    const peer = await next(POLL);
    peer.answer(200, { "Content-Type": "application/json", ETag: `W/"${id}"`, "Flagent-Position": id, ...headers }, snapshotOf(flags, id));
    return peer;
  };

  test("a handshake that fails leads to the next transport at once; the application sees nothing else (tc-transport-fallback)", async () => {
    const store = new FlagStore(connect({ apiKey: "k" }));
    assert.equal(client.transport, "websocket");
    await refuse(WS, 426);
    server.peers.length = server.taken;
    const { peer, snapshot } = await stream.accept(server);
    assert.deepEqual([peer.url.pathname, snapshot, peer.header("x-api-key"), client.transport], [SSE, true, "k", "sse"]);
    stream.snapshot(peer, [flag(1, "a")], "10@k");
    await store.ready({ timeout: 5000 });
    const ids = [];
    client.subscribeAll(({ id }) => ids.push(id));
    stream.event(peer, event("flag_updated", "11-0@k", flag(1, "a", { enabled: true })));
    await until(() => store.get("a").enabled && ids.length === 1);
    assert.deepEqual([errors, client.failure], [[], null]);
  });

  test("polls where no stream works, and follows changes (tc-polling)", async () => {
    const store = new FlagStore(connect(), { flags: ["a"] });
    const changes = [];
    const resyncs = [];
    client.subscribe("a", (one) => changes.push(one.enabled));
    client.onResync(({ reason }) => resyncs.push(reason));
    await refuse(WS);
    await refuse(SSE);
    const first = await poll([flag(1, "a")], "10@k");
    await store.ready({ timeout: 5000 });
    assert.deepEqual([...first.url.searchParams], [["flag", "a"]]);
    assert.deepEqual([client.transport, store.position, first.header("if-none-match")], ["polling", "10", null]);
    await after(1000);
    const second = await poll([flag(1, "a", { enabled: true })], "11@k");
    assert.deepEqual([second.header("if-none-match"), second.url.searchParams.get("waitMs")], ['W/"10@k"', "8000"]);
    await until(() => store.get("a").enabled);
    await after(1000);
    const third = await next(POLL);
    third.answer(304, { "Flagent-Position": "12@k", ETag: 'W/"12@k"' });
    await until(() => store.position === "12");
    assert.equal(store.status, "READY");
    // The server did not hold the request: the next one waits for the interval.
    await until(() => clock.waits.includes(10_000));
    clock.advance(9000);
    assert.equal(server.peers.length, server.taken);
    clock.advance(1000);
    await poll([flag(1, "a", { enabled: true })], "12@k", { "Flagent-Stale": "true" });
    await until(() => store.status === "STALE");
    await after(1000);
    const fifth = await next(POLL);
    clock.advance(18_000);
    await until(() => fifth.isClosed, "a poll without an answer is given up");
    assert.equal(client.state, "reconnecting");
    await until(() => changes.length === 2);
    assert.deepEqual([changes, [...new Set(resyncs)], errors], [[false, true], ["polling"], []]);
  });

  test("a poll that is no snapshot is backed off from (tc-polling)", async () => {
    const store = new FlagStore(connect({ maxMessageBytes: 500 }));
    await refuse(WS);
    await refuse(SSE);
    const bad = [["text/html", "<h1>Log in</h1>"], ["application/json", "{"], ["application/json", '{"flags": 1}'], ["application/json", JSON.stringify("x".repeat(600))]];
    for (const [type, body] of bad) {
      (await next(POLL)).answer(200, { "Content-Type": type }, body);
      await retry();
    }
    await poll([], "10@k");
    await store.ready({ timeout: 5000 });
  });

  test("connected, and no byte in time: the next transport (tc-transport-silent)", async () => {
    const store = new FlagStore(connect());
    (await next(WS)).upgrade();
    await until(() => server.peers[0].messages.length === 1);
    clock.advance(10_000);
    const { peer } = await stream.accept(server);
    // The greeting passes, the snapshot is held back.
    await until(() => client.state === "connected");
    clock.advance(10_001);
    await until(() => peer.isClosed);
    await poll([flag(1, "a")], "10@k");
    await store.ready({ timeout: 5000 });
    assert.equal(client.transport, "polling");
  });

  test("no connection, or a server that is away, says nothing about the transport (tc-transport-refused)", async () => {
    const { port } = server;
    await server.stop();
    const store = new FlagStore(connect());
    for (let n = 0; n < 6; n++) {
      await retry();
    }
    await until(() => client.state === "reconnecting");
    assert.equal(client.transport, "websocket");
    await server.listen(port);
    for (let n = 0; n < 2; n++) {
      await retry();
      await refuse(WS, 503);
      await until(() => client.state === "reconnecting");
      assert.equal(client.transport, "websocket");
    }
    await retry();
    await refuse(WS, 503);
    const { peer } = await stream.accept(server);
    stream.snapshot(peer, [], "10@k");
    await store.ready({ timeout: 5000 });
    assert.equal(client.transport, "sse");
  });

  test("three losses within 30 s lead to the next transport, which resumes (tc-transport-lost)", async () => {
    const store = new FlagStore(connect());
    for (let n = 0; n < 3; n++) {
      const accepted = await socket.accept(server);
      if (n === 0) socket.snapshot(accepted.peer, [flag(1, "a")], "10@k", accepted.requestId);
      await store.ready({ timeout: 5000 });
      accepted.peer.socket.destroy();
      await until(() => store.status === "STALE");
      if (n < 2) await retry();
    }
    const { peer, lastEventId } = await stream.accept(server);
    assert.deepEqual([peer.url.pathname, lastEventId, client.transport], [SSE, "10@k", "sse"]);
    await until(() => store.status === "READY");
  });

  test("the better transport is tried after five minutes beside the working one, and resumes (tc-transport-back)", async () => {
    const store = new FlagStore(connect());
    const ids = [];
    client.subscribeAll(({ id }) => ids.push(id));
    await refuse(WS);
    const { peer } = await stream.accept(server);
    stream.snapshot(peer, [flag(1, "a")], "10@k");
    await store.ready({ timeout: 5000 });
    /** Lets five minutes pass, with a heartbeat in each. */
    const fiveMinutes = async () => {
      for (let n = 0; n < FIVE_MINUTES / 60_000; n++) {
        clock.advance(60_001);
        const seen = clock.waits.length;
        stream.heartbeat(peer, "10@k");
        await new Promise((resolve) => setImmediate(resolve));
        await until(() => clock.waits.length >= Math.min(seen, 1));
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    };
    await fiveMinutes();
    await refuse(WS);
    await until(() => clock.waits.some((wait) => wait > 200_000), "the next trial");
    assert.deepEqual([client.transport, store.status, peer.isClosed], ["sse", "READY", false]);
    await fiveMinutes();
    const probe = await next(WS);
    probe.upgrade();
    const ping = await probe.message("ping");
    assert.equal(peer.isClosed, false);
    stream.event(peer, event("flag_updated", "11-0@k", flag(1, "a", { enabled: true })));
    await until(() => store.get("a").enabled);
    probe.send({ type: "pong", requestId: ping.requestId });
    const accepted = await socket.accept(server, { position: "12" });
    assert.equal(accepted.lastEventId, "11-0@k");
    socket.event(accepted.peer, event("flag_updated", "12-0@k", flag(1, "a", { notes: "x" })));
    await until(() => store.status === "READY" && peer.isClosed && probe.isClosed);
    assert.deepEqual([client.transport, store.get("a").notes, ids, errors], ["websocket", "x", ["11-0@k", "12-0@k"], []]);
  });

  test("a 401 is fatal on every transport (tc-401)", async () => {
    const store = new FlagStore(connect());
    await refuse(WS);
    (await next(SSE)).answer(401);
    await assert.rejects(store.ready({ timeout: 5000 }), /401/);
    assert.equal(client.state, "failed");
  });

  test("a selection that an event stream cannot carry stays on the WebSocket, reported once (tc-transport-limits)", async () => {
    connect();
    for (let n = 0; n < 1001; n++) client.subscribeFlag(`f${n}`, () => undefined);
    for (let n = 0; n < 3; n++) {
      await refuse(WS);
      await retry();
    }
    assert.deepEqual([client.transport, errors.map(({ message }) => message.slice(0, 51))], ["websocket", ["the selection is too large for the transport sse, s"]]);
    (await next(WS)).upgrade();
  });

  test("the url is the server's address", () => {
    for (const bad of ["flags.example", "ftp://flags.example", ""]) assert.throws(() => new FlagentClient(bad), /^TypeError: url is /);
    assert.throws(() => new FlagentClient("https://flags.example", { pollInterval: 0 }), RangeError);
    client = new FlagentClient("https://flags.example", { start: false, clock });
    assert.ok(!(errors[0] instanceof RequestFailed));
  });
});
