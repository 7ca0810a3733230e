/** How long a connection may be silent: 2.5 heartbeat intervals, announced by the server, else observed, else assumed. */

export const DEFAULT_HEARTBEAT_INTERVAL_MS = 30_000;
const MIN_HEARTBEAT_INTERVAL_MS = 1000;
const SILENT_INTERVALS = 2.5;

export class Liveness {
  #intervalMs: number;
  #heartbeatAt: number | null = null;

  readonly #defaultMs: number;

  constructor(defaultMs = DEFAULT_HEARTBEAT_INTERVAL_MS) {
    this.#defaultMs = defaultMs;
    this.#intervalMs = defaultMs;
  }

  get silenceLimitMs(): number {
    return this.#intervalMs * SILENT_INTERVALS;
  }

  /** A connection begins; `announcedMs` is the interval that the server announces. */
  reset(announcedMs: number | null = null): void {
    this.#heartbeatAt = null;
    this.#intervalMs = announcedMs ?? this.#defaultMs;
  }

  connectionLost(): void {
    this.#heartbeatAt = null;
  }

  /** A keep-alive has arrived: the time since the last one is the interval. */
  heartbeat(now: number): void {
    if (this.#heartbeatAt !== null) this.#intervalMs = Math.max(now - this.#heartbeatAt, MIN_HEARTBEAT_INTERVAL_MS);
    this.#heartbeatAt = now;
  }
}
