/** The WebSocket transport. Its socket is the platform's (`platform-socket`), or of the class from the options. */
import { MalformedMessage } from "./core/errors.js";
import type { LongIntegers } from "./core/exact-json.js";
import { decodeDialogue, GREETING, parseJson, type Message } from "./core/message.js";
import { closeCodeOutcome, statusOutcome, isUnauthorized, parseRetryAfter } from "./core/policy.js";
import { isEverything, union, type Selection } from "./core/selection.js";
import { changeMessages, MESSAGE_LIMITS, subscribeMessages } from "./core/selection-messages.js";
import { asError, ConnectionLost, RequestFailed } from "./errors.js";
import type { Fields } from "./pending-requests.js";
import type { OpenSocket } from "./socket.js";
import { connectionFailure, type Connection, type ConnectionFailure, type ConnectionRequest, type ConnectionSink, type Transport } from "./transport.js";

export class WebSocketTransport implements Transport {
  readonly limits = MESSAGE_LIMITS;
  readonly #url: string;
  readonly #openSocket: OpenSocket;
  #requestCount = 0;

  readonly #integers: LongIntegers | undefined;

  constructor(url: string, openSocket: OpenSocket, integers?: LongIntegers) {
    this.#integers = integers;
    this.#url = url;
    this.#openSocket = openSocket;
  }

  open(request: ConnectionRequest, sink: ConnectionSink): Connection {
    /** Messages sent before the socket is open; null afterwards. */
    let queued: string[] | null = [];
    let isOver = false;
    /** The requests that the connection was opened with. */
    const openingIds = new Set<string>();
    /** The selections of the requested snapshots, by request id. */
    const scopes = new Map<string, Selection>();
    const ended = (failure: ConnectionFailure) => {
      isOver = true;
      sink.ended(failure);
    };
    const receive = (message: Message) => {
      const { requestId } = message as { requestId?: string | null };
      if (requestId == null) return sink.message(message);
      const isOpening = openingIds.has(requestId);
      if (message.kind === "response" && isOpening) return sink.message(GREETING);
      if (message.kind === "snapshot" && !isOpening && message.reason === null) {
        const scope = scopes.get(requestId);
        scopes.delete(requestId);
        return scope === undefined ? undefined : sink.message({ ...message, scope });
      }
      if (message.kind === "error") {
        const failed = new RequestFailed(message.message || message.code, message.code);
        const scope = scopes.get(requestId);
        scopes.delete(requestId);
        if (isOpening) {
          socket.close();
          return ended(connectionFailure(failed, "fatal"));
        }
        if (scope !== undefined) return sink.snapshotFailed(scope, failed);
      }
      sink.message(message);
    };
    const socket = this.#openSocket(this.#url, request.apiKey, {
      open: () => {
        sink.received();
        const texts = queued ?? [];
        queued = null;
        for (const text of texts) socket.send(text);
      },
      received: () => sink.received(),
      text: (text) => {
        if (isOver) return;
        let message: Message;
        try {
          message = decodeDialogue(parseJson(text, this.#integers));
        } catch (error) {
          return sink.malformed(asError(error));
        }
        receive(message);
      },
      malformed: (reason) => { if (!isOver) sink.malformed(new MalformedMessage(reason)); },
      closed: (code, reason, status, retryAfter, cause) => {
        if (isOver) return;
        const wait = retryAfter === null ? null : parseRetryAfter(retryAfter, Date.now());
        const detail = reason === "" ? "" : `: ${reason}`;
        if (status !== null) {
          const error = new ConnectionLost(`the server responded with ${status}${detail}`, { status });
          const outcome = statusOutcome(status) === "retry" ? "retry" : "fatal";
          return ended(connectionFailure(error, outcome, wait, isUnauthorized(status)));
        }
        const error = new ConnectionLost(`the WebSocket was closed with code ${code}${detail}`, { closeCode: code, cause });
        ended(connectionFailure(error, closeCodeOutcome(code), wait, isUnauthorized(code)));
      },
    });
    const send = (fields: Fields) => {
      if (isOver) return;
      const text = JSON.stringify(fields);
      if (queued !== null) queued.push(text);
      else socket.send(text);
    };
    /** Sends messages with new request ids, which it returns. */
    const sendAll = (messages: readonly Fields[]) => messages.map((message) => {
      const requestId = `r${++this.#requestCount}`;
      send({ ...message, requestId });
      return requestId;
    });
    const ping = () => sendAll([{ type: "ping" }]);
    const { selection, lastEventId, snapshot } = request;
    const start = lastEventId !== null ? { lastEventId } : snapshot ? { snapshot } : {};
    // Without a selection the server greets nobody: the pong takes the place of the greeting.
    const opening = request.opening === undefined ? null : [request.opening];
    for (const id of selection === null ? ping() : sendAll(opening ?? subscribeMessages(selection, start))) openingIds.add(id);
    return {
      dialogue: {
        change: (from, to) => {
          const { messages, selected } = changeMessages(from, to);
          sendAll(messages);
          return selected;
        },
        send,
        ping,
      },
      requestSnapshot: (wanted, selected) => {
        const messages = subscribeMessages(wanted, { snapshot: true });
        // Where everything is selected anyway, it must stay so.
        const isWide = selected !== null && isEverything(selected);
        const [requestId] = sendAll(isWide ? messages.slice(0, 1) : messages);
        scopes.set(requestId!, wanted);
        return union([selected ?? wanted, wanted]);
      },
      close: () => {
        if (isOver) return;
        isOver = true;
        socket.close();
      },
    };
  }
}
