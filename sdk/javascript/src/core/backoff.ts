/** The wait before a reconnection attempt: exponential backoff with full jitter, and at least what the server asks for. */

export interface ReconnectConfig {
  /** Failed reconnection attempts in a row before the client gives up; 0 = never. By default 10, and 0 for a client with a FlagStore. */
  readonly maxAttempts: number;
  /** In milliseconds. */
  readonly initialDelay: number;
  /** In milliseconds. */
  readonly maxDelay: number;
  readonly multiplier: number;
  /** In milliseconds: a connection that lasts this long after its first message resets the attempt count. */
  readonly stableAfter: number;
}

export const ReconnectConfig = {
  defaults: Object.freeze({ maxAttempts: 10, initialDelay: 1000, maxDelay: 60_000, multiplier: 2.0, stableAfter: 5000 }),

  /** The defaults, overridden by the given values; raises RangeError for a value out of range. */
  from(given: Partial<ReconnectConfig> = {}): ReconnectConfig {
    const config: Record<keyof ReconnectConfig, number> = { ...ReconnectConfig.defaults };
    for (const name of Object.keys(config) as (keyof ReconnectConfig)[]) {
      const value = given[name] === undefined ? config[name] : given[name];
      const least = name === "multiplier" ? 1 : 0;
      if (typeof value !== "number" || !(value >= least) || (name === "maxAttempts" && !Number.isInteger(value))) {
        throw new RangeError(`reconnectConfig.${name} is ${String(value)}; it must be a number of at least ${least}`);
      }
      config[name] = value;
    }
    return config;
  },
};

export const MAX_RETRY_AFTER_MS = 3_600_000;

/** The wait in ms before reconnection `attempt` (1 = the first); null = give up. `isLimited`: `maxAttempts` counts. `random` is in [0, 1]. */
export function reconnectDelay(
  config: ReconnectConfig, attempt: number, random: number, retryMs: number | null, retryAfterMs: number | null, isLimited = true,
): number | null {
  if (isLimited && config.maxAttempts > 0 && attempt > config.maxAttempts) return null;
  const ceiling = Math.min(config.maxDelay, config.initialDelay * config.multiplier ** (attempt - 1));
  const jitter = random * ceiling;
  const retry = retryMs === null ? 0 : Math.min(retryMs, config.maxDelay);
  const retryAfter = retryAfterMs === null ? 0 : Math.min(retryAfterMs, MAX_RETRY_AFTER_MS) + jitter;
  return Math.max(jitter, retry, retryAfter);
}

/** Counts failed attempts. The count resets after a connection that has lasted `stableAfter`. */
export class Backoff {
  #attempt = 0;
  #retryMs: number | null = null;
  #firstMessageAt: number | null = null;

  readonly #config: ReconnectConfig;

  constructor(config: ReconnectConfig) {
    this.#config = config;
  }

  /** A message arrived at `now` (ms). */
  message(now: number): void {
    this.#firstMessageAt ??= now;
  }

  /** Takes the server's `retry:`, which applies until it sends another. */
  retry(ms: number): void {
    this.#retryMs = ms;
  }

  /** The connection or the attempt has ended at `now`; returns the wait in ms, null = give up. */
  lost(now: number, random: number, retryAfterMs: number | null = null, isLimited = true): number | null {
    if (this.#firstMessageAt !== null && now - this.#firstMessageAt >= this.#config.stableAfter) this.#attempt = 0;
    this.#firstMessageAt = null;
    this.#attempt++;
    return reconnectDelay(this.#config, this.#attempt, random, this.#retryMs, retryAfterMs, isLimited);
  }
}
