// A clock that a test advances, waiting for a condition, and a scripted server on raw sockets.
import { createHash } from "node:crypto";
import { createServer } from "node:net";

/** Waits until `condition` returns a true value; fails after the deadline, naming the condition. */
export async function until(condition, what = String(condition), deadlineMs = 20_000) {
  const end = Date.now() + deadlineMs;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) throw new Error(`not within ${deadlineMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

export class FakeClock {
  time = 0;
  timers = new Map();
  next = 0;
  chance = 1;

  now = () => this.time;
  random = () => this.chance;
  setTimer = (action, delayMs) => {
    const id = ++this.next;
    this.timers.set(id, { action, at: this.time + delayMs });
    return id;
  };
  clearTimer = (id) => void this.timers.delete(id);

  /** The remaining times, in milliseconds, of all timers. */
  get waits() {
    return [...this.timers.values()].map(({ at }) => at - this.time).sort((a, b) => a - b);
  }

  advance(ms) {
    const end = this.time + ms;
    for (;;) {
      const due = [...this.timers].filter(([, { at }]) => at <= end).sort(([, a], [, b]) => a.at - b.at)[0];
      if (due === undefined) break;
      this.timers.delete(due[0]);
      this.time = Math.max(this.time, due[1].at);
      due[1].action();
    }
    this.time = end;
  }
}

export class ScriptedServer {
  peers = [];
  taken = 0;

  static async start() {
    const server = new ScriptedServer();
    await server.listen(0);
    return server;
  }

  async listen(port) {
    this.server = createServer((socket) => this.peers.push(new Peer(socket)));
    await new Promise((resolve, reject) => this.server.once("error", reject).listen(port, "127.0.0.1", resolve));
    this.port = this.server.address().port;
  }

  /** The next connection whose request has arrived. */
  async next() {
    const peer = await until(() => this.peers[this.taken], "a connection");
    this.taken++;
    await until(() => peer.head, "a request");
    return peer;
  }

  get open() {
    return this.peers.filter(({ socket }) => !socket.destroyed).length;
  }

  async stop() {
    for (const { socket } of this.peers) socket.destroy();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

export class Peer {
  head = null;
  frames = [];
  bytes = Buffer.alloc(0);
  isClosed = false;

  constructor(socket) {
    this.socket = socket;
    socket.on("data", (data) => this.received(data));
    socket.on("error", () => undefined);
    socket.on("close", () => { this.isClosed = true; });
  }

  get url() {
    return new URL(this.head.split(" ")[1], "http://server");
  }

  header(name) {
    return new RegExp(`^${name}: (.*)\r$`, "im").exec(this.head)?.[1] ?? null;
  }

  received(data) {
    this.bytes = Buffer.concat([this.bytes, data]);
    if (this.head === null) {
      const end = this.bytes.indexOf("\r\n\r\n");
      if (end < 0) return;
      this.head = this.bytes.subarray(0, end + 2).toString();
      this.bytes = this.bytes.subarray(end + 4);
    }
    this.readFrames();
  }

  readFrames() {
    for (;;) {
      const { bytes } = this;
      if (bytes.length < 6) return;
      let length = bytes[1] & 0x7f;
      let at = 2;
      if (length === 126) [length, at] = [bytes.readUInt16BE(2), 4];
      if (length === 127) [length, at] = [bytes.length < 10 ? Infinity : Number(bytes.readBigUInt64BE(2)), 10];
      if (bytes.length < at + 4 + length) return;
      const mask = bytes.subarray(at, at + 4);
      const payload = Buffer.from(bytes.subarray(at + 4, at + 4 + length).map((byte, n) => byte ^ mask[n & 3]));
      this.bytes = bytes.subarray(at + 4 + length);
      this.frames.push({ opcode: bytes[0] & 0x0f, isMasked: (bytes[1] & 0x80) !== 0, payload });
    }
  }

  /** The messages that the client has sent. */
  get messages() {
    return this.frames.filter(({ opcode }) => opcode === 1).map(({ payload }) => JSON.parse(payload.toString()));
  }

  /** The first message of a type, or that satisfies `wanted`. */
  async message(wanted) {
    const matches = typeof wanted === "string" ? ({ type }) => type === wanted : wanted;
    return until(() => this.messages.find(matches), `the message ${wanted}`);
  }

  write(text) {
    this.socket.write(text);
  }

  answer(status, headers = {}, body = "") {
    const lines = Object.entries({ "Content-Length": Buffer.byteLength(body), Connection: "close", ...headers });
    this.socket.end(`HTTP/1.1 ${status} Status\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n${body}`);
  }

  startStream(greeting = true) {
    this.write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n");
    if (greeting) this.event("connected", { position: "10", id: "10@k", fresh: true, ageMs: 1 });
  }

  event(name, data, id) {
    this.write(`event: ${name}\n${id === undefined ? "" : `id: ${id}\n`}data: ${JSON.stringify(data)}\n\n`);
  }

  upgrade() {
    const accept = createHash("sha1").update(`${this.header("sec-websocket-key")}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
    this.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
  }

  frame(opcode, payload, { final = true, reserved = 0, masked = false } = {}) {
    const data = Buffer.from(payload);
    const size = data.length < 126 ? [data.length] : data.length < 65536 ? [126, data.length >> 8, data.length & 255]
      : [127, ...new Uint8Array(new BigUint64Array([BigInt(data.length)]).buffer).reverse()];
    if (masked) size[0] |= 0x80;
    this.socket.write(Buffer.concat([Buffer.from([(final ? 0x80 : 0) | reserved | opcode, ...size]), ...(masked ? [Buffer.alloc(4)] : []), data]));
  }

  closeFrame(code, reason = "") {
    this.frame(8, Buffer.concat([Buffer.from([code >> 8, code & 255]), Buffer.from(reason)]));
    this.socket.end();
  }

  send(message) {
    this.frame(1, JSON.stringify(message));
  }
}

/** One interface to a client over either transport. */
export const transports = {
  WebSocket: {
    path: "/ws",
    url: (server) => `ws://127.0.0.1:${server.port}/ws`,
    /** Accepts a connection and its subscription, or its ping where it has none; returns what the client requested. */
    async accept(server, { position = "10", id = `${position}@k`, fresh = true } = {}) {
      const peer = await server.next();
      peer.upgrade();
      const asked = await peer.message(({ type }) => type === "subscribe" || type === "ping");
      if (asked.type === "ping") {
        peer.send({ type: "pong", requestId: asked.requestId });
        return { peer, lastEventId: null, snapshot: false, requestId: asked.requestId };
      }
      peer.send({ type: "subscribed", requestId: asked.requestId, position, id, fresh, ageMs: 1, selections: [] });
      return { peer, lastEventId: asked.lastEventId ?? null, snapshot: asked.snapshot === true, requestId: asked.requestId };
    },
    snapshot: (peer, flags, id, requestId) => peer.send({ type: "snapshot", id, position: id.split("@")[0], flags, requestId }),
    event: (peer, event) => peer.send(event),
    resync: (peer, reason, flags, id) => peer.send({ type: "resync", id, reason, snapshot: { position: id.split("@")[0], flags } }),
    heartbeat: (peer, id, { fresh = true, digest } = {}) =>
      peer.send({ type: "heartbeat", position: id.split("@")[0], id, fresh, ageMs: 1, ...(digest ? { digest } : {}) }),
    batch: (peer, events) => peer.send({ type: "batch", id: events.at(-1).id, events }),
    malformed: (peer) => peer.frame(1, "{nonsense"),
    /** Answers a snapshot request beside the stream. */
    async snapshotRequest(server, peer) {
      const seen = peer.messages.length;
      return async (flags, id) => {
        const asked = await until(() => peer.messages.slice(seen).find(({ type, snapshot }) => type === "subscribe" && snapshot), "a request for a snapshot");
        peer.send({ type: "subscribed", requestId: asked.requestId, position: id.split("@")[0], id, fresh: true, ageMs: 1, selections: [] });
        peer.send({ type: "snapshot", id, position: id.split("@")[0], flags, requestId: asked.requestId });
        return asked;
      };
    },
  },
  SSE: {
    path: "/api/v1/events/stream",
    url: (server) => `http://127.0.0.1:${server.port}/api/v1/events/stream`,
    async accept(server, { position = "10", id = `${position}@k`, fresh = true, retry } = {}) {
      const peer = await server.next();
      peer.startStream(false);
      if (retry !== undefined) peer.write(`retry: ${retry}\n\n`);
      peer.event("connected", { position, id, fresh, ageMs: 1 });
      const { searchParams } = peer.url;
      return { peer, lastEventId: peer.header("last-event-id"), snapshot: searchParams.get("snapshot") === "true" };
    },
    snapshot: (peer, flags, id) => peer.event("snapshot", { position: id.split("@")[0], flags }, id),
    event: (peer, event) => peer.event(event.type, event, event.id),
    resync: (peer, reason, flags, id) => peer.event("resync", { reason, snapshot: { position: id.split("@")[0], flags } }, id),
    heartbeat: (peer, id, { fresh = true, digest } = {}) =>
      peer.write(`: keep-alive position=${id.split("@")[0]} fresh=${fresh} ageMs=1${digest ? ` digest=${digest}` : ""}\nid: ${id}\n\n`),
    batch: (peer, events) => peer.event("batch", { events }, events.at(-1).id),
    malformed: (peer) => peer.write("event: flag_updated\nid: 10-9@k\ndata: {nonsense\n\n"),
    async snapshotRequest(server) {
      return async (flags, id) => {
        const peer = await server.next();
        peer.startStream();
        peer.event("snapshot", { position: id.split("@")[0], flags }, id);
        await until(() => peer.isClosed, "the end of the request for a snapshot");
        return Object.fromEntries(peer.url.searchParams);
      };
    },
  },
};

export const flag = (id, key, more = {}) => ({
  id, key, description: "", createdBy: null, updatedBy: null, enabled: false, snapshotID: 0, notes: null, dataRecordsEnabled: false,
  entityType: null, environmentId: null, projectId: null, dependsOn: [], segments: [], variants: [], tags: [], updatedAt: null, archived: false, ...more,
});

export const event = (type, id, of, more = {}) => ({
  type, id, flagKey: of.key, flagID: of.id, schema: "public", committedAt: "2026-11-23T08:00:00.123456Z",
  ...(type === "flag_deleted" ? {} : { flag: of }), ...more,
});
