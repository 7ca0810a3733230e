/** The seam between the life of a connection (`connector`) and how bytes travel (`sse-transport`, `websocket-transport`). */
import type { Message } from "./core/message.js";
import type { Selector } from "./core/selection.js";

export interface Opening {
  readonly selector: Selector;
  /** The id to resume after; null for the first connection. */
  readonly lastEventId: string | null;
  readonly snapshot: boolean;
  readonly apiKey: string | null;
}

/** Why a connection ended. */
export interface Failure {
  readonly outcome: "retry" | "fatal";
  readonly error: Error;
  readonly retryAfterMs: number | null;
  readonly isUnauthorized: boolean;
}

/** Where a connection reports to. After `ended`, or after `close`, it reports nothing any more. */
export interface Sink {
  /** Every sign of life, also one that carries no message. */
  received(): void;
  message(message: Message): void;
  /** The server asks for this wait before the next connection. */
  retry(ms: number): void;
  /** One message could not be read; the connection goes on. */
  malformed(error: Error): void;
  ended(failure: Failure): void;
}

export interface Connection {
  /** Whether `send` works; the event stream is one-way. */
  readonly isTwoWay: boolean;
  /** Sends a message; what is sent before the connection is up follows when it is. */
  send(fields: Readonly<Record<string, unknown>>): void;
  close(): void;
}

export interface Transport {
  open(opening: Opening, sink: Sink): Connection;
  /** A snapshot beside the stream; absent where the stream itself can be asked. Rejects when it cannot be had. */
  snapshot?(selector: Selector, apiKey: string | null, signal: AbortSignal): Promise<Message>;
}
