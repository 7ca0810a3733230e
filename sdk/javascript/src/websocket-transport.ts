/** The WebSocket: the platform's own in browsers, `node-socket` in Node.js, or one that the application gives. */
import { MalformedMessage } from "./core/event.js";
import { decodeMessage, parseJson } from "./core/message.js";
import { closeOutcome, httpOutcome, isUnauthorized, parseRetryAfter } from "./core/policy.js";
import { asError, ConnectionFailed } from "./errors.js";
import { failure } from "./connection-supervisor.js";
import { isNode } from "./platform.js";
import type { OpenSocket, Socket } from "./socket.js";
import type { Connection, Opening, Sink, Transport } from "./transport.js";

/** What is used of the standard WebSocket class. */
export interface WebSocketLike {
  readonly readyState: number;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  send(text: string): void;
  close(code?: number, reason?: string): void;
}

export type WebSocketClass = new (url: string, protocols?: string[]) => WebSocketLike;

const OPEN = 1;
export const PROTOCOL = "flagent.v1";
export const KEY_PROTOCOL = "flagent.key.";

export class WebSocketTransport implements Transport {
  constructor(private readonly url: string, private readonly openSocket: OpenSocket) {}

  open(opening: Opening, sink: Sink): Connection {
    let waiting: string[] | null = [];
    let isOver = false;
    const socket = this.openSocket(this.url, opening.apiKey, {
      open: () => {
        sink.received();
        const queued = waiting ?? [];
        waiting = null;
        for (const text of queued) socket.send(text);
      },
      received: () => sink.received(),
      text: (text) => {
        if (isOver) return;
        try {
          sink.message(decodeMessage(parseJson(text)));
        } catch (error) {
          sink.malformed(asError(error));
        }
      },
      malformed: (reason) => { if (!isOver) sink.malformed(new MalformedMessage(reason)); },
      closed: (code, reason, status, retryAfter) => {
        if (isOver) return;
        isOver = true;
        const wait = retryAfter === null ? null : parseRetryAfter(retryAfter, Date.now());
        const said = reason === "" ? "" : `: ${reason}`;
        if (status !== null) {
          const error = new ConnectionFailed(`the server answered ${status}${said}`, status);
          const outcome = httpOutcome(status) === "retry" ? "retry" : "fatal";
          return sink.ended({ ...failure(error, outcome, wait), isUnauthorized: isUnauthorized(status) });
        }
        const error = new ConnectionFailed(`the WebSocket was closed with ${code}${said}`, code);
        sink.ended({ ...failure(error, closeOutcome(code), wait), isUnauthorized: isUnauthorized(code) });
      },
    });
    return {
      isTwoWay: true,
      send: (fields) => {
        if (isOver) return;
        const text = JSON.stringify(fields);
        if (waiting !== null) waiting.push(text);
        else socket.send(text);
      },
      close: () => {
        if (isOver) return;
        isOver = true;
        socket.close();
      },
    };
  }
}

/**
 * A socket of the platform's class. It cannot send headers, so that the key travels as a subprotocol: `flagent.v1`
 * is what the server must choose, `flagent.key.<base64url of the key>` is what it reads and never repeats.
 */
export function standardSocket(WebSocketClass: WebSocketClass): OpenSocket {
  return (url, apiKey, events) => {
    const socket = apiKey === null ? new WebSocketClass(url) : new WebSocketClass(url, [PROTOCOL, KEY_PROTOCOL + base64Url(apiKey)]);
    socket.onopen = () => events.open();
    socket.onmessage = (event: { data: unknown }) => {
      events.received();
      if (typeof event.data === "string") events.text(event.data);
      else events.malformed("a binary message is not understood");
    };
    socket.onclose = (event: { code: number; reason: string }) => events.closed(event.code, event.reason, null, null);
    // `error` says nothing that the `close` after it does not say; some implementations throw where nobody listens.
    socket.onerror = () => undefined;
    return {
      send: (text) => { if (socket.readyState === OPEN) socket.send(text); },
      close: () => {
        socket.onopen = socket.onmessage = socket.onclose = null;
        socket.close(1000);
      },
    };
  };
}

function base64Url(text: string): string {
  const bytes = new TextEncoder().encode(text);
  return btoa(String.fromCharCode(...bytes)).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}

/** The best there is here: in Node.js the socket that sends headers and sees refusals, elsewhere the platform's own. */
export function defaultSocket(maxLength: number): OpenSocket {
  if (!isNode()) {
    const { WebSocket } = globalThis as { WebSocket?: WebSocketClass };
    if (WebSocket === undefined) throw new TypeError("there is no WebSocket here; give one as the option `WebSocket`");
    return standardSocket(WebSocket);
  }
  return (url, apiKey, events) => {
    let inner: Socket | null = null;
    let isClosed = false;
    import("./node-socket.js").then(
      ({ openNodeSocket }) => { if (!isClosed) inner = openNodeSocket(url, apiKey, events, maxLength); },
      (error: unknown) => events.closed(1006, asError(error).message, null, null),
    );
    return {
      send: (text) => inner?.send(text),
      close: () => {
        isClosed = true;
        inner?.close();
      },
    };
  };
}
