/**
 * Which transport a client uses: the WebSocket, else the event stream, else polling. Pure.
 *
 * The caller reports what happens to its connection as an `Input`, with the time in milliseconds of one monotonic clock, and does what the `Step` says:
 * `connect`: open `transport` at once; `backoff`: wait, then open it; `probe`: try `probe` beside the connection that works, and report `probeWorked` or
 * `probeFailed` (a probe under way when the connection ends is abandoned and not reported); `switch`: replace the connection by one of `transport`.
 */

export type TransportName = "websocket" | "sse" | "polling";

/**
 * `failed`: the handshake got an answer that this transport cannot use. `silent`: connected, and no byte in time. `refused`: no connection (TCP, DNS,
 * TLS), which says nothing about the transport. `unavailable`: come back later. `lost`: ended after its first message. `tick`: time has passed.
 */
export type EndInput = "failed" | "silent" | "refused" | "unavailable" | "lost";
export type Input = EndInput | "firstMessage" | "tick" | "probeWorked" | "probeFailed";

export interface Step {
  readonly do: "connect" | "backoff" | "probe" | "switch" | null;
  /** With `do: "probe"`: the transport to try. */
  readonly probe?: TransportName;
}

const ORDER = ["websocket", "sse", "polling"] as const;
const LAST = ORDER.length - 1;
const LOSSES = 3;
const LOSSES_WITHIN_MS = 30_000;
const UNAVAILABLE_IN_A_ROW = 3;
export const RETRY_BETTER_AFTER_MS = 300_000;

export class TransportChoice {
  readonly #retryBetterAfterMs: number;
  #index = 0;
  #losses: number[] = [];
  #unavailable = 0;
  #lesserSince = 0;
  #isConnected = false;
  #probed: number | null = null;

  constructor(retryBetterAfterMs = RETRY_BETTER_AFTER_MS) {
    this.#retryBetterAfterMs = retryBetterAfterMs;
  }

  /** The transport of the present connection, or of the next one. */
  get transport(): TransportName {
    return ORDER[this.#index]!;
  }

  /** The transport that follows; null for the last. */
  get next(): TransportName | null {
    return ORDER[this.#index + 1] ?? null;
  }

  /** When a better transport is to be tried; null on the best. */
  get probeAt(): number | null {
    return this.#index === 0 ? null : this.#lesserSince + this.#retryBetterAfterMs;
  }

  step(input: Input, now: number): Step {
    switch (input) {
      case "firstMessage":
        this.#unavailable = 0;
        this.#isConnected = true;
        return { do: null };
      case "tick":
        return this.#isConnected && this.#probed === null && this.#isRetryDue(now) ? this.#probe(0) : { do: null };
      case "probeWorked":
        if (this.#probed === null) return { do: null };
        this.#use(this.#probed, now);
        this.#isConnected = false;
        this.#probed = null;
        return { do: "switch" };
      case "probeFailed":
        if (this.#probed === null) return { do: null };
        if (this.#probed + 1 < this.#index) return this.#probe(this.#probed + 1);
        this.#probed = null;
        this.#lesserSince = now;
        return { do: null };
      default:
        return this.#ended(input, now);
    }
  }

  #ended(input: EndInput, now: number): Step {
    let isEnough = input === "failed" || input === "silent";
    if (input === "lost") {
      this.#unavailable = 0;
      this.#losses = [...this.#losses.filter((at) => now - at <= LOSSES_WITHIN_MS), now];
      isEnough = this.#losses.length >= LOSSES;
    } else if (input === "unavailable") isEnough = ++this.#unavailable >= UNAVAILABLE_IN_A_ROW;
    this.#isConnected = false;
    this.#probed = null;
    if (isEnough && this.#index < LAST) {
      this.#use(this.#index + 1, now);
      return { do: "connect" };
    }
    if (this.#isRetryDue(now)) this.#use(0, now);
    return { do: "backoff" };
  }

  #probe(index: number): Step {
    this.#probed = index;
    return { do: "probe", probe: ORDER[index]! };
  }

  #use(index: number, now: number): void {
    this.#index = index;
    this.#lesserSince = now;
    this.#losses = [];
    this.#unavailable = 0;
  }

  #isRetryDue(now: number): boolean {
    return this.#index > 0 && now - this.#lesserSince >= this.#retryBetterAfterMs;
  }
}
