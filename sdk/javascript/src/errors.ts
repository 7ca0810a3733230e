/**
 * What goes wrong:
 *
 *   FlagentError
 *   ├── ConnectionFailed   the server refused, or the connection broke; `code` is the HTTP status or the close code
 *   ├── GaveUp             the client has ended: refused for good, or `maxAttempts` reached; the cause tells which
 *   ├── RequestRefused     the server answered a request with an error; `code` is the server's word for it
 *   ├── TimedOut           no answer in time
 *   └── ClientClosed       asked of a client that is closed
 */
export class FlagentError extends Error {
  override readonly name: string = "FlagentError";
}

export class ConnectionFailed extends FlagentError {
  override readonly name = "ConnectionFailed";

  constructor(message: string, readonly code: number | null = null, options?: ErrorOptions) {
    super(message, options);
  }
}

export class GaveUp extends FlagentError {
  override readonly name = "GaveUp";
}

export class RequestRefused extends FlagentError {
  override readonly name = "RequestRefused";

  constructor(message: string, readonly code: string) {
    super(message);
  }
}

export class TimedOut extends FlagentError {
  override readonly name = "TimedOut";
}

export class ClientClosed extends FlagentError {
  override readonly name = "ClientClosed";

  constructor() {
    super("the client is closed");
  }
}

export function asError(value: unknown): Error {
  return value instanceof Error ? value : new Error(String(value));
}
