/** The boundary between the life of a connection (`connection-supervisor`) and its bytes (`sse-transport`, `websocket-transport`). */
import type { Message } from "./core/message.js";
import type { Selection } from "./core/selection.js";
import type { SelectionLimits } from "./core/selection-limits.js";

/** What a new connection asks for. */
export interface ConnectionRequest {
  /** Null: only requests are made. */
  readonly selection: Selection | null;
  /** The id to resume after; null for the first connection. */
  readonly lastEventId: string | null;
  readonly snapshot: boolean;
  readonly apiKey: string | null;
  /** In place of the selection and the id or snapshot: the query of an event stream, the first message of a WebSocket. */
  readonly query?: URLSearchParams;
  readonly opening?: Readonly<Record<string, unknown>>;
}

/** Why a connection ended. */
export interface ConnectionFailure {
  /** `again`: connect at once, for example over another transport. */
  readonly outcome: "retry" | "fatal" | "again";
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
  /** A requested snapshot of this selection does not come. */
  snapshotFailed(scope: Selection, error: Error): void;
  ended(failure: ConnectionFailure): void;
}

/** One open connection. */
export interface Connection {
  /** Null for the event stream, which is one-way. */
  readonly dialogue: Dialogue | null;
  /**
   * Requests a snapshot of `selection`, which arrives as a message with that scope; `selected` is what the connection selects.
   * Returns what it selects then.
   */
  requestSnapshot(selection: Selection, selected: Selection | null): Selection | null;
  close(): void;
}

/** What a two-way connection takes; messages sent before the connection is up are queued until it is. */
export interface Dialogue {
  /** Changes the selection from `selected` to `selection`. Returns what is selected then. */
  change(selected: Selection, selection: Selection): Selection;
  /** Sends a request with its id. */
  send(request: Readonly<Record<string, unknown>>): void;
  ping(): void;
}

export interface Transport {
  /** What one connection can select. */
  readonly limits: SelectionLimits;
  /** Decides what follows the end of a connection; without it, what the failure says. `end` is how far the connection was. */
  judge?(failure: ConnectionFailure, end: "unanswered" | "connected" | "silent"): ConnectionFailure;
  open(request: ConnectionRequest, sink: ConnectionSink): Connection;
}

export function connectionFailure(
  error: Error, outcome: ConnectionFailure["outcome"] = "retry", retryAfterMs: number | null = null, isUnauthorized = false,
): ConnectionFailure {
  return { outcome, error, retryAfterMs, isUnauthorized };
}
