/**
 * The error tree of the SDK.
 *
 *   FlagentError
 *   ├── ConnectionLost      the connection could not be made or has ended; the client reconnects
 *   ├── ConnectionRefused   fatal: the server rejects this client, and a retry would not help
 *   ├── ReconnectExhausted  fatal: `maxAttempts` reconnection attempts have failed
 *   ├── RequestFailed       the server answered a request with an error
 *   ├── RequestTimeout      no response to a request in time
 *   ├── NotReady            the store did not become ready in time
 *   ├── ClientClosed        the client is closed
 *   ├── MalformedMessage    a message of the server cannot be decoded; it is skipped
 *   ├── MessageTooLarge     a message of the server exceeds `maxMessageBytes`
 *   ├── AmbiguousFlag       several schemas hold a flag of this key
 *   └── ReducedFlag         a flag was sent without its rules, and cannot be evaluated locally
 *
 * The client passes errors to `onError` and `onState`; calls such as `ready` and `evaluate` reject with them.
 */
import { FlagentError } from "./core/errors.js";

export { AmbiguousFlag, FlagentError, MalformedMessage, MessageTooLarge, ReducedFlag } from "./core/errors.js";

/** How a connection ended, where known. */
export interface EndReason {
  /** The HTTP status of the response. */
  readonly status?: number | null;
  /** The WebSocket close code. */
  readonly closeCode?: number | null;
  readonly cause?: unknown;
}

/** The connection could not be made or has ended; the client reconnects by itself. */
export class ConnectionLost extends FlagentError {
  override readonly name = "ConnectionLost";
  readonly status: number | null;
  readonly closeCode: number | null;

  constructor(message: string, { status = null, closeCode = null, cause }: EndReason = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.status = status;
    this.closeCode = closeCode;
  }
}

/** The server rejects this client for good, for example because of its API key or its URL; the client has stopped. */
export class ConnectionRefused extends FlagentError {
  override readonly name = "ConnectionRefused";
  readonly status: number | null;
  readonly closeCode: number | null;

  constructor(cause: Error) {
    super(`connection refused, no further attempts: ${cause.message}`, { cause });
    ({ status: this.status = null, closeCode: this.closeCode = null } = cause as EndReason);
  }
}

/** All reconnection attempts have failed; `cause` is the last failure. The client has stopped. */
export class ReconnectExhausted extends FlagentError {
  override readonly name = "ReconnectExhausted";

  constructor(readonly attempts: number, cause: Error) {
    super(`gave up after ${attempts} reconnection attempts: ${cause.message}`, { cause });
  }
}

/** The server answered a request with an error; `code` is stable, the message is for people. */
export class RequestFailed extends FlagentError {
  override readonly name = "RequestFailed";

  constructor(message: string, readonly code: string) {
    super(message);
  }
}

/** No response to a request in time. */
export class RequestTimeout extends FlagentError {
  override readonly name = "RequestTimeout";
}

/** The store did not become ready in time; `cause` is why the last connection failed, if one did. */
export class NotReady extends FlagentError {
  override readonly name = "NotReady";
}

/** The client is closed. */
export class ClientClosed extends FlagentError {
  override readonly name = "ClientClosed";

  constructor() {
    super("the client is closed");
  }
}

export function asError(value: unknown): Error {
  return value instanceof Error ? value : new Error(String(value));
}
