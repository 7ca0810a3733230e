/** The boundary between the life of a connection (`connection-supervisor`) and its bytes (`sse-transport`, `websocket-transport`). */
import type { Message } from "./core/message.js";
import type { Selection, SelectionLimits } from "./core/selection.js";

/** What a new connection asks for. */
export interface ConnectionRequest {
  readonly selection: Selection;
  /** The id to resume after; null for the first connection. */
  readonly lastEventId: string | null;
  readonly snapshot: boolean;
  readonly apiKey: string | null;
}

/** Why a connection ended. */
export interface ConnectionFailure {
  readonly outcome: "retry" | "fatal";
  readonly error: Error;
  readonly retryAfterMs: number | null;
  readonly isUnauthorized: boolean;
}

/** Receives what a connection reports. After `ended`, or after `close`, a connection reports nothing. */
export interface ConnectionSink {
  /** Bytes have arrived, with or without a complete message. */
  received(): void;
  message(message: Message): void;
  /** The server asks for this wait before the next connection. */
  retry(ms: number): void;
  /** One message could not be decoded; the connection stays. */
  malformed(error: Error): void;
  ended(failure: ConnectionFailure): void;
}

/** One open connection. */
export interface Connection {
  /** Whether `send` works; the event stream is one-way. */
  readonly isTwoWay: boolean;
  /** Sends a message; messages sent before the connection is up are queued until it is. */
  send(fields: Readonly<Record<string, unknown>>): void;
  close(): void;
}

export interface Transport {
  /** What one connection can select. */
  readonly limits: SelectionLimits;
  open(request: ConnectionRequest, sink: ConnectionSink): Connection;
  /** Fetches a snapshot beside the stream; absent where the stream itself takes requests. Rejects on failure. */
  snapshot?(selection: Selection, apiKey: string | null, signal: AbortSignal): Promise<Message>;
}

export function connectionFailure(
  error: Error, outcome: ConnectionFailure["outcome"] = "retry", retryAfterMs: number | null = null, isUnauthorized = false,
): ConnectionFailure {
  return { outcome, error, retryAfterMs, isUnauthorized };
}
