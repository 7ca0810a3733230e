/** The options of both clients, and the handlers that an application registers. */
import type { ConnectionSharing, ConnectionState } from "./client-connection.js";
import type { Clock } from "./clock.js";
import type { ReconnectConfig } from "./core/backoff.js";
import type { AnyEvent, DistributionUpdated, SegmentUpdated } from "./core/event.js";
import type { FlagChange } from "./core/flag-table.js";
import type { LongIntegers } from "./core/exact-json.js";
import type { Flag } from "./core/flag.js";

export interface ClientOptions {
  /** `wss://…/ws`, or `https://…/api/v1/events/stream`. */
  readonly url: string;
  /** A string, or a function called before each connection and once more after a 401. */
  readonly apiKey?: string | (() => string | Promise<string>) | null;
  readonly reconnectConfig?: Partial<ReconnectConfig>;
  /** The heartbeat interval in milliseconds that is assumed until the server's own is known; 2.5 intervals without data end a connection. */
  readonly heartbeatInterval?: number;
  /** The maximum wait for the server's first message, in milliseconds. */
  readonly connectTimeout?: number;
  /** The maximum number of queued handler calls; when full, the client disconnects until half have run, then resumes. */
  readonly queueSize?: number;
  /** The maximum size of a message, in bytes (event stream: characters); a larger one ends the connection. A page's WebSocket has no such limit. */
  readonly maxMessageBytes?: number;
  /** Browsers: disconnect after this many milliseconds in a hidden tab; `false` disables. */
  readonly pauseWhenHidden?: number | false;
  /** Browsers: `shareTabs()` of `@flagent/realtime/share` shares one connection among all tabs of this origin. */
  readonly share?: ConnectionSharing;
  /** What becomes of whole numbers beyond 2^53 in rows and events: `"text"` (the default), or `"bigint"`. */
  readonly longIntegers?: LongIntegers;
  /** `false`: nothing connects before `start`. */
  readonly start?: boolean;
  /** For tests. */
  readonly clock?: Clock;
}

export const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;

export type FlagHandler = (flag: Flag, change: FlagChange) => unknown;
export type FlagsHandler = (flags: Flag[], changes: readonly FlagChange[]) => unknown;
export type EventHandler = (event: AnyEvent) => unknown;
export type SegmentHandler = (event: SegmentUpdated | DistributionUpdated) => unknown;
/** The state after lost events, and why it was replaced: `pruned`, `ahead`, `overflow`, `unknown_id`, `log_replaced`, or `rejoined` where tabs share a connection. */
export interface Resync { readonly reason: string; readonly flags: readonly Flag[]; readonly position: string }
export type ResyncHandler = (resync: Resync) => unknown;
export type StateHandler = (state: ConnectionState, error: Error | null) => unknown;
export type ErrorHandler = (error: Error) => unknown;
