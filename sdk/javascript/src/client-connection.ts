/** What a client needs of its connection: a separate one (`connection-supervisor`), or one that several tabs share (`shared-connection`). */
import type { Clock } from "./clock.js";
import type { ConnectionSupervisor } from "./connection-supervisor.js";
import type { Message } from "./core/message.js";
import type { Selection } from "./core/selection.js";
import type { Fields } from "./pending-requests.js";

/** `reconnecting` = lost, waiting for the next attempt; `paused` = disconnected on purpose (hidden tab, slow handlers); `failed` = the client has given up. */
export type ConnectionState = "idle" | "connecting" | "connected" | "reconnecting" | "paused" | "failed" | "closed";

export interface ConnectionListener {
  message(message: Message): void;
  /** `error` is why the connection ended, or why the client has given up. */
  state(state: ConnectionState, error: Error | null): void;
  error(error: Error): void;
}

export interface ClientConnection {
  readonly state: ConnectionState;
  /**
   * Sets what the connection selects; `snapshot` requests the state when a new stream begins, `isLasting` reconnects without
   * limit unless the client's options have one. Null selects nothing and disconnects, unless requests have been made. `since` is the id
   * to resume after where nothing was received yet: that of flags that the stores begin with.
   */
  select(selection: Selection | null, snapshot: boolean, isLasting: boolean, since: string | null): void;
  /** Requests a snapshot of `selection`; it arrives as a message with that scope. */
  requestSnapshot(selection: Selection): void;
  /** Two-way connections: sends a request and resolves with the response. Connects if there is no connection. */
  call?(fields: Fields, timeoutMs: number): Promise<Fields>;
  /** Disconnects until every reason has been taken back by `resume`. */
  pause(reason: string): void;
  resume(reason: string): void;
  /** Connects without waiting for the next attempt, because the network or the tab is back. */
  reconnectNow(): void;
  close(): void;
}

/** What another connection than the client's own is made of; `makeOwn` makes the latter. */
export interface ConnectionParts {
  readonly url: string;
  readonly apiKey: ApiKey;
  readonly clock: Clock;
  readonly listener: ConnectionListener;
  makeOwn(listener: ConnectionListener, lastEventId: string | null): ConnectionSupervisor;
}

/** Makes the connection that tabs share; null where the platform cannot. */
export type ConnectionSharing = (parts: ConnectionParts) => ClientConnection | null;

/** A string, or a function called before each connection. */
export type ApiKey = string | (() => string | Promise<string>) | null;
