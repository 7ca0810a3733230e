// Features of the WebSocket alone: frames, close codes, requests, subscriptions that change while connected.
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";
import { FlagentWebSocketClient, FlagStore } from "../dist/index.js";
import { event, FakeClock, flag, ScriptedServer, transports, until } from "./harness.js";

const wire = transports.WebSocket;

describe("the WebSocket", () => {
  let server;
  let clock;
  let client;
  let errors;

  beforeEach(async () => {
    server = await ScriptedServer.start();
    clock = new FakeClock();
    errors = [];
    client = new FlagentWebSocketClient({ url: wire.url(server), clock });
    client.onError((error) => errors.push(error));
  });

  afterEach(async () => {
    client.close();
    await server.stop();
  });

  const update = (n, more) => event("flag_updated", `${n}-0@k`, flag(1, "a", more));

  async function listening() {
    const ids = [];
    client.subscribeAll(({ id }) => ids.push(id));
    const { peer } = await wire.accept(server);
    return { ids, peer };
  }

  test("a request connects without any subscription, and a selection may come and go (tc-evaluate-alone)", async () => {
    const answer = async (peer) => {
      const { requestId } = await peer.message("evaluate");
      peer.send({ type: "evaluation_result", requestId, position: "10", result: { flagKey: "a" } });
    };
    const result = client.evaluate("a", 42);
    const { peer: first } = await wire.accept(server);
    assert.equal((await first.message("evaluate")).entityID, "42");
    await answer(first);
    assert.equal((await result).flagKey, "a");
    assert.equal(client.state, "connected");
    const store = new FlagStore(client);
    const { peer, snapshot, requestId } = await wire.accept(server);
    assert.equal(snapshot, true);
    wire.snapshot(peer, [flag(1, "a")], "10@k", requestId);
    await store.ready({ timeout: 5000 });
    store.close();
    const again = client.evaluate("a", "e");
    await answer((await wire.accept(server)).peer);
    assert.equal((await again).flagKey, "a");
    assert.deepEqual(errors, []);
  });

  test("frames may be fragmented, split, joined, empty and long; pings in between are answered", async () => {
    const { ids, peer } = await listening();
    const text = Buffer.from(JSON.stringify(update(11, { notes: "ж".repeat(50) })));
    peer.frame(1, text.subarray(0, 7), { final: false });
    peer.frame(9, "are you there");
    peer.frame(0, text.subarray(7, 160), { final: false });
    peer.frame(0, "", { final: false });
    peer.frame(0, text.subarray(160));
    peer.send(update(12, { notes: "x".repeat(300) }));
    peer.send(update(13, { notes: "x".repeat(70_000) }));
    peer.frame(10, "unasked");
    await until(() => ids.length === 3);
    const pong = await until(() => peer.frames.find(({ opcode }) => opcode === 10));
    assert.equal(pong.payload.toString(), "are you there");
    assert.ok(peer.frames.every(({ isMasked }) => isMasked));
    assert.deepEqual(errors, []);
  });

  test("a handshake and a frame in one packet, then bytes one by one", async () => {
    client.subscribeAll(({ id }) => errors.push(id));
    const peer = await server.next();
    const write = peer.socket.write.bind(peer.socket);
    const packet = [];
    peer.socket.write = (data) => packet.push(Buffer.from(data));
    peer.upgrade();
    peer.send({ type: "subscribed", requestId: "r1", position: "10", id: "10@k", fresh: true, ageMs: 1 });
    peer.send(update(11));
    write(Buffer.concat(packet.splice(0)));
    peer.send(update(12));
    for (const byte of packet[0]) {
      write(Buffer.of(byte));
      await new Promise(setImmediate);
    }
    await until(() => errors.length === 2);
    assert.deepEqual(errors, ["11-0@k", "12-0@k"]);
  });

  test("an empty ping that comes alone is answered, an empty close is no error", async () => {
    const { ids, peer } = await listening();
    await until(() => client.state === "connected");
    peer.frame(9, "");
    await until(() => peer.frames.some(({ opcode }) => opcode === 10), "a pong");
    peer.send(update(11));
    await until(() => ids.length === 1);
    assert.equal(client.state, "connected");
    const ends = [];
    client.onState((state, error) => ends.push([state, error?.closeCode]));
    peer.frame(8, "");
    await until(() => ends.length > 0);
    assert.deepEqual(ends[0], ["reconnecting", 1005]);
  });

  test("events before a broken frame in the same packet are delivered", async () => {
    const { ids, peer } = await listening();
    const packet = [];
    const write = peer.socket.write.bind(peer.socket);
    peer.socket.write = (data) => packet.push(Buffer.from(data));
    peer.send(update(11));
    peer.frame(5, "");
    write(Buffer.concat(packet));
    peer.socket.write = write;
    await until(() => client.state === "reconnecting");
    await until(() => ids.length === 1);
    clock.advance(1000);
    assert.equal((await wire.accept(server)).lastEventId, "11-0@k");
  });

  test("a binary message is reported and the connection stays (tc-malformed)", async () => {
    const { ids, peer } = await listening();
    peer.frame(2, "\x00\x01");
    peer.send(update(11));
    await until(() => ids.length === 1);
    assert.match(errors[0].message, /binary/);
  });

  const broken = {
    "a masked frame": (peer) => peer.frame(1, "{}", { masked: true }),
    "a reserved bit": (peer) => peer.frame(1, "{}", { reserved: 0x40 }),
    "an unknown opcode": (peer) => peer.frame(5, ""),
    "a continuation of nothing": (peer) => peer.frame(0, "x"),
    "a message inside a message": (peer) => { peer.frame(1, "x", { final: false }); peer.frame(1, "y"); },
    "a fragmented ping": (peer) => peer.frame(9, "", { final: false }),
    "text that is not UTF-8": (peer) => peer.frame(1, Buffer.of(0xff)),
    "a close code that must not be sent": (peer) => peer.frame(8, Buffer.of(3, 237)),
    "a frame of 2^62 bytes": (peer) => peer.socket.write(Buffer.of(0x81, 127, 0x40, 0, 0, 0, 0, 0, 0, 0)),
  };
  for (const [what, send] of Object.entries(broken)) {
    test(`${what} ends the connection, and the client reconnects`, async () => {
      const { peer } = await listening();
      send(peer);
      await until(() => client.state === "reconnecting");
      await until(() => peer.frames.some(({ opcode }) => opcode === 8), "a close frame");
      await until(() => peer.isClosed);
      clock.advance(1000);
      assert.equal((await wire.accept(server)).lastEventId, "10@k");
    });
  }

  test("an invalid handshake response is rejected", async () => {
    client.subscribeAll(() => undefined);
    const peer = await server.next();
    peer.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: wrong\r\n\r\n");
    await until(() => client.state === "reconnecting");
  });

  for (const [code, state] of [[1000, "reconnecting"], [1001, "reconnecting"], [1012, "reconnecting"], [4429, "reconnecting"], [4401, "failed"], [4403, "failed"], [3000, "failed"]]) {
    test(`the close code ${code} leaves the client ${state} (tc-close-code)`, async () => {
      const { peer } = await listening();
      const states = [];
      client.onState((now, error) => states.push([now, error?.message]));
      peer.closeFrame(code, "because");
      await until(() => client.state === state);
      const [, message] = await until(() => states.find(([now]) => now === state));
      assert.match(message, new RegExp(`${code}: because`));
    });
  }

  test("changes of subscriptions are sent while connected, and are kept after a reconnection (tc-subscribe-live)", async () => {
    const a = client.subscribe({ flags: ["a"] }, () => undefined);
    const { peer } = await wire.accept(server);
    client.subscribe({ flags: ["b"], tags: ["t"] }, () => undefined);
    const second = await peer.message(({ flags }) => flags?.includes("b"));
    assert.deepEqual(second.tags, ["t"]);
    assert.equal(second.snapshot, undefined);
    a.unsubscribe();
    const gone = await peer.message("unsubscribe");
    assert.deepEqual(gone.flags, ["a"]);
    assert.equal(gone.tags, undefined);
    peer.socket.destroy();
    await until(() => client.state === "reconnecting");
    clock.advance(1000);
    const again = await wire.accept(server);
    const { flags, tags } = again.peer.messages[0];
    assert.deepEqual({ flags, tags }, { flags: ["b"], tags: ["t"] });
  });

  test("the client disconnects after its last subscription has ended", async () => {
    client.subscribe("a", () => undefined);
    const { peer } = await wire.accept(server);
    await until(() => client.state === "connected");
    client.unsubscribe("a");
    await until(() => client.state === "idle");
    await until(() => peer.isClosed);
    client.subscribe("b", () => undefined);
    await wire.accept(server);
    await until(() => client.state === "connected");
  });

  test("a subscription that the server rejects ends the client", async () => {
    client.subscribe({ types: ["flag_eaten"] }, () => undefined);
    const peer = await server.next();
    peer.upgrade();
    const { requestId } = await peer.message("subscribe");
    peer.send({ type: "error", code: "invalid_type", message: "No such type.", requestId });
    await until(() => client.state === "failed");
    await until(() => errors.length === 1);
    assert.equal(errors[0].cause.code, "invalid_type");
  });

  test("a refused handshake is reported with the server's own sentence", async () => {
    const client = new FlagentWebSocketClient({ url: transports.WebSocket.url(server), reconnectConfig: { initialDelay: 1 } });
    const reasons = [];
    client.onState((state, error) => { if (error !== null) reasons.push(error.message); });
    client.subscribeAll(() => undefined);
    try {
      (await server.next()).answer(503, { "Content-Type": "application/problem+json", "Retry-After": "0" }, JSON.stringify({ title: "Busy", detail: "the server is starting" }));
      await until(() => reasons.length === 1);
      (await server.next()).answer(401, { "Content-Type": "text/html" }, "<h1>no</h1>");
      await until(() => client.state === "failed");
      assert.equal(reasons[0], "the server responded with 503: the server is starting");
      assert.match(reasons.at(-1), /the server responded with 401: Status/);
    } finally {
      client.close();
    }
  });

  test("evaluates on the server (tc-evaluate)", async () => {
    const { peer } = await listening();
    const answer = client.evaluate("a", "user123", { country: "US" }, { minPosition: "12" });
    const asked = await peer.message("evaluate");
    assert.deepEqual(asked, {
      type: "evaluate", flagKey: "a", entityID: "user123", entityContext: { country: "US" }, minPosition: "12", requestId: asked.requestId,
    });
    peer.send({ type: "evaluation_result", requestId: asked.requestId, position: "12", result: { flagKey: "a", variantKey: "on" } });
    assert.equal((await answer).variantKey, "on");
    const batch = client.evaluateBatch({ entities: [{ entityID: "u" }], flagKeys: ["a"] });
    const { requestId } = await peer.message("evaluate_batch");
    peer.send({ type: "evaluation_result", requestId, position: "12", results: [{ variantKey: "on" }] });
    assert.deepEqual(await batch, [{ variantKey: "on" }]);
  });

  test("an evaluation rejects on an error, a timeout and a close", async () => {
    const { peer } = await listening();
    const failed = client.evaluate({ flagID: -1, entityID: "u" });
    const { requestId } = await peer.message("evaluate");
    peer.send({ type: "error", code: "invalid_parameter", message: "No.", requestId });
    await assert.rejects(failed, { name: "RequestFailed", code: "invalid_parameter" });
    const unanswered = client.evaluate("a", "u");
    await until(() => peer.messages.filter(({ type }) => type === "evaluate").length === 2);
    clock.advance(5000);
    await assert.rejects(unanswered, { name: "RequestTimeout" });
    const closed = client.evaluate("a", "u");
    client.close();
    await assert.rejects(closed, { name: "ClientClosed" });
    await assert.rejects(client.evaluate("a", "u"), { name: "ClientClosed" });
  });

  test("an evaluation requested while disconnected is sent when connected", async () => {
    const { peer } = await listening();
    peer.socket.destroy();
    await until(() => client.state === "reconnecting");
    const answer = client.evaluate("a", "u");
    clock.advance(1000);
    const again = await wire.accept(server);
    const { requestId } = await again.peer.message("evaluate");
    again.peer.send({ type: "evaluation_result", requestId, position: "12", result: { variantKey: "on" } });
    assert.equal((await answer).variantKey, "on");
  });

  test("close sends a close frame, and leaves nothing even if the server is silent", async () => {
    const store = new FlagStore(client);
    const { peer } = await wire.accept(server);
    await until(() => client.state === "connected");
    client.close();
    const closeFrame = await until(() => peer.frames.find(({ opcode }) => opcode === 8));
    assert.equal(closeFrame.payload.readUInt16BE(0), 1000);
    await until(() => peer.isClosed, "the end of the socket");
    assert.equal(store.status, "CLOSED");
  });
});

test("a process ends by itself after it has closed its clients", async () => {
  const { spawn } = await import("node:child_process");
  const server = await ScriptedServer.start();
  const program = `
    import { FlagentWebSocketClient, FlagentSSEClient, FlagStore } from ${JSON.stringify(new URL("../dist/index.js", import.meta.url).href)};
    const clients = [new FlagentWebSocketClient({ url: "ws://127.0.0.1:${server.port}/ws" }), new FlagentSSEClient({ url: "http://127.0.0.1:${server.port}/" })];
    const stores = clients.map((client) => new FlagStore(client));
    await new Promise((resolve) => setTimeout(resolve, 100));
    for (const client of clients) client.close();
    console.log(stores.map(({ status }) => status).join());
  `;
  const child = spawn(process.execPath, ["--input-type=module", "-e", program], { stdio: ["ignore", "pipe", "inherit"] });
  let output = "";
  child.stdout.on("data", (data) => { output += data; });
  const code = await new Promise((resolve) => child.on("exit", resolve));
  await server.stop();
  assert.deepEqual([code, output.trim()], [0, "CLOSED,CLOSED"]);
});
