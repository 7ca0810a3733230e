/** The client that follows through any network. */
import { MAX_MESSAGE_BYTES, type ClientOptions } from "./client-options.js";
import { ChoosingTransport } from "./choosing-transport.js";
import { systemClock } from "./clock.js";
import { DialogueSupervisor } from "./dialogue-supervisor.js";
import { RETRY_BETTER_AFTER_MS, type TransportName } from "./core/transport-choice.js";
import { endpointUrl } from "./endpoint-url.js";
import type { Fetch } from "./http-request.js";
import { defaultFetch } from "./platform-fetch.js";
import { defaultSocket } from "./platform-socket.js";
import { POLL_INTERVAL_MS, PollingTransport } from "./polling-transport.js";
import { RealtimeClient } from "./realtime-client.js";
import { SseTransport } from "./sse-transport.js";
import { standardSocket, type WebSocketClass } from "./standard-socket.js";
import { WebSocketTransport } from "./websocket-transport.js";

export interface FlagentClientOptions extends Omit<ClientOptions, "url"> {
  /** The paths of the server, below the client's url. */
  readonly wsPath?: string;
  readonly ssePath?: string;
  readonly snapshotPath?: string;
  /** In milliseconds, for a server that does not hold the requests of polling. */
  readonly pollInterval?: number;
  /** After this time on a lesser transport, in milliseconds, the better ones are tried again. */
  readonly retryBetterAfter?: number;
  /** The `fetch` to use instead of the platform's. */
  readonly fetch?: Fetch;
  /** The standard WebSocket class to use instead of the default. */
  readonly WebSocket?: WebSocketClass;
}

/**
 * Live flags through any network: `new FlagentClient("https://flags.example")`.
 *
 * The client connects by WebSocket; where the network lets none through, by an event stream; where that does not work either, by polling. While it uses
 * a lesser transport, it tries the better ones every five minutes. `transport` says which one is in use; nothing else changes: subscriptions and stores go
 * on, and no change is lost or repeated. While it polls there are no events: handlers of flags are called with what is different, `onEvent` with RESYNC.
 */
export class FlagentClient extends RealtimeClient {
  readonly #choosing: ChoosingTransport;
  readonly #makeTransport: () => ChoosingTransport;

  constructor(url: string, options: FlagentClientOptions = {}) {
    const base = endpointUrl(url, ["http:", "https:"]);
    const {
      wsPath = "/ws", ssePath = "/api/v1/events/stream", snapshotPath = "/api/v1/snapshot", pollInterval: intervalMs = POLL_INTERVAL_MS, WebSocket,
      retryBetterAfter = RETRY_BETTER_AFTER_MS, fetch = defaultFetch, maxMessageBytes: maxLength = MAX_MESSAGE_BYTES, longIntegers: integers, connectTimeout: connectMs = 10_000,
      clock = systemClock,
    } = options;
    if (!(intervalMs > 0)) throw new RangeError(`pollInterval is ${intervalMs}; it must be more than 0, in milliseconds`);
    const at = (path: string) => {
      const whole = new URL(base);
      whole.pathname = whole.pathname.replace(/\/+$/, "") + path;
      return whole.href;
    };
    const makeTransport = () => new ChoosingTransport({
      clock, connectMs, retryBetterAfterMs: retryBetterAfter,
      transports: {
        websocket: new WebSocketTransport(at(wsPath).replace(/^http/, "ws"), WebSocket === undefined ? defaultSocket(maxLength) : standardSocket(WebSocket), integers),
        sse: new SseTransport(at(ssePath), fetch, maxLength, integers),
        polling: new PollingTransport({ url: at(snapshotPath), fetch, clock, intervalMs, connectMs, maxLength, integers }),
      },
    });
    const choosing = makeTransport();
    super({ ...options, url: base }, choosing, (...parts) => new DialogueSupervisor(...parts));
    this.#choosing = choosing;
    this.#makeTransport = makeTransport;
  }

  /** @internal */
  override tableTransport(): ChoosingTransport {
    return this.#makeTransport();
  }

  /** How the client reaches the server now, or tries to. */
  get transport(): TransportName {
    return this.#choosing.name;
  }
}
