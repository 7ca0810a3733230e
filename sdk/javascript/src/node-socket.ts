/**
 * A WebSocket client over node:http, for Node.js only: Node 20 has no WebSocket, and the standard class can neither send
 * headers nor distinguish a 401 from an unreachable host.
 */
import { createHash, randomBytes } from "node:crypto";
import type { ClientRequest, IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { encodeClose, encodeFrame, FrameError, FrameParser, Opcode, type FrameItem } from "./core/frame.js";
import { statusOutcome, resolveSocketRedirect } from "./core/policy.js";
import { asError } from "./errors.js";
import { nodeRequest } from "./node-request.js";
import type { Socket, SocketEvents } from "./socket.js";

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/** The maximum wait for the peer's close frame. */
const CLOSE_MS = 2000;
/** The maximum wait for the body of a response that refuses the handshake. */
const PROBLEM_MS = 1000;
const MAX_PROBLEM_LENGTH = 2000;
const ENCODER = new TextEncoder();

export function openNodeSocket(url: string, apiKey: string | null, events: SocketEvents, maxLength: number): Socket {
  return new NodeSocket(url, apiKey, events, maxLength);
}

class NodeSocket implements Socket {
  #request: ClientRequest | null = null;
  #stream: Duplex | null = null;
  readonly #parser: FrameParser;
  #isClosing = false;
  #isOver = false;
  #closing: { code: number; reason: string } | null = null;

  readonly #events: SocketEvents;

  constructor(url: string, apiKey: string | null, events: SocketEvents, maxLength: number) {
    this.#events = events;
    this.#parser = new FrameParser(maxLength);
    this.#handshake(url, apiKey, 1);
  }

  send(text: string): void {
    if (!this.#isClosing) this.#write(Opcode.TEXT, ENCODER.encode(text));
  }

  close(): void {
    this.#isOver = true;
    this.#shut(1000, "");
    if (this.#stream === null) this.#request?.destroy();
  }

  #handshake(url: string, apiKey: string | null, hop: number): void {
    const key = randomBytes(16).toString("base64");
    const target = new URL(url.replace(/^ws/, "http"));
    const headers: Record<string, string> = {
      Connection: "Upgrade", Upgrade: "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": key,
    };
    if (apiKey !== null) headers["X-API-Key"] = apiKey;
    let request: ClientRequest;
    try {
      request = nodeRequest(target, { headers }, true);
    } catch (error) {
      return this.#over(1006, asError(error).message);
    }
    this.#request = request;
    request.on("error", (error) => this.#over(1006, error.message, null, null, error));
    request.on("response", (response) => this.#refused(response, url, apiKey, hop));
    request.on("upgrade", (response, stream, head) => {
      if (this.#isOver) return void stream.destroy();
      const accept = createHash("sha1").update(key + GUID).digest("base64");
      if (response.headers["sec-websocket-accept"] !== accept || response.headers["sec-websocket-extensions"] !== undefined) {
        stream.destroy();
        return this.#over(1006, "the server's handshake response is not a WebSocket handshake");
      }
      this.#opened(stream, head);
    });
    request.end();
  }

  #refused(response: IncomingMessage, url: string, apiKey: string | null, hop: number): void {
    const status = response.statusCode ?? 0;
    if (this.#isOver) return void response.resume();
    if (statusOutcome(status) === "redirect") {
      response.resume();
      const target = resolveSocketRedirect(url, response.headers.location ?? null, hop);
      this.#request?.destroy();
      if (target !== null) return this.#handshake(target.url, target.sendKey ? apiKey : null, hop + 1);
      return this.#over(1006, response.statusMessage ?? "", status);
    }
    let body = "";
    const ended = () => {
      clearTimeout(timer);
      this.#request?.destroy();
      this.#over(1006, sentence(response, body), status, response.headers["retry-after"] ?? null);
    };
    const timer = setTimeout(ended, PROBLEM_MS);
    response.setEncoding("utf8");
    response.on("data", (text: string) => {
      body += text;
      if (body.length > MAX_PROBLEM_LENGTH) ended();
    });
    response.once("end", ended);
    response.once("error", ended);
  }

  #opened(stream: Duplex, head: Buffer): void {
    this.#stream = stream;
    stream.on("error", (error) => this.#over(1006, error.message));
    stream.on("end", () => this.#ended());
    stream.on("close", () => this.#ended());
    stream.on("data", (bytes: Buffer) => this.#received(bytes));
    this.#events.open();
    if (head.length > 0) this.#received(head);
  }

  #received(bytes: Buffer): void {
    if (!this.#isOver) this.#events.received();
    try {
      for (const item of this.#parser.push(bytes)) if (!this.#take(item)) return;
    } catch (error) {
      if (!(error instanceof FrameError)) throw error;
      this.#shut(error.code, error.message);
      this.#over(error.code, error.message);
      this.#stream?.destroy();
    }
  }

  /** Returns whether more frames may follow. */
  #take(item: FrameItem): boolean {
    switch (item.kind) {
      case "binary":
        if (!this.#isOver && !this.#isClosing) this.#events.malformed("a binary message is not supported");
        return true;
      case "text":
        if (!this.#isOver && !this.#isClosing) this.#events.text(item.text);
        return true;
      case "ping":
        if (!this.#isClosing) this.#write(Opcode.PONG, item.payload);
        return true;
      case "pong":
        return true;
      case "close":
        this.#closing = item;
        this.#shut(item.code === 1005 ? 1000 : item.code, "");
        this.#stream?.end();
        return false;
    }
  }

  #write(opcode: number, payload: Uint8Array): void {
    if (this.#stream?.writable) this.#stream.write(encodeFrame(opcode, payload, randomBytes(4)));
  }

  /** Sends a close frame and waits up to `CLOSE_MS` for the peer's. */
  #shut(code: number, reason: string): void {
    if (this.#isClosing || this.#stream === null) return;
    const stream = this.#stream;
    this.#write(Opcode.CLOSE, encodeClose(code, reason));
    this.#isClosing = true;
    const timer = setTimeout(() => stream.destroy(), CLOSE_MS);
    stream.once("close", () => clearTimeout(timer));
  }

  #ended(): void {
    this.#stream?.destroy();
    this.#over(this.#closing?.code ?? 1006, this.#closing?.reason ?? "the connection ended without a close frame");
  }

  #over(code: number, reason: string, status: number | null = null, retryAfter: string | null = null, cause?: unknown): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#events.closed(code, reason, status, retryAfter, cause);
  }
}

/** The server's own sentence about a refusal, otherwise the status line's. */
function sentence(response: IncomingMessage, body: string): string {
  if ((response.headers["content-type"] ?? "").includes("json")) {
    try {
      const { detail, title } = JSON.parse(body) as { detail?: unknown; title?: unknown };
      if (typeof (detail ?? title) === "string") return (detail ?? title) as string;
    } catch {
      // The body only explains the status, which decides.
    }
  }
  return response.statusMessage ?? "";
}
