/** What evaluations have shown to whom: each exposure once per window, and the counts that a report sends. */

/** Remembers what was reported: at most `limit` exposures, of which the least recently evaluated is forgotten. */
export class ExposureWindow {
  readonly #windowMs: number;
  readonly #limit: number;
  /** When each was reported; the least recently evaluated first. */
  readonly #reported = new Map<string, number>();

  constructor(windowMs: number, limit: number) {
    this.#windowMs = windowMs;
    this.#limit = limit;
  }

  /** Whether this is the first exposure of its window; `now` in milliseconds. */
  isFirst(now: number, schema: string, flagKey: string, entityID: string, variantKey: string | null): boolean {
    const name = JSON.stringify([schema, flagKey, entityID, variantKey]);
    const before = this.#reported.get(name);
    const isFirst = before === undefined || now - before >= this.#windowMs;
    this.#reported.delete(name);
    this.#reported.set(name, isFirst ? now : before);
    if (this.#reported.size > this.#limit) this.#reported.delete(this.#reported.keys().next().value!);
    return isFirst;
  }
}

/** One entry of `POST /api/v1/exposures`. */
export interface ExposureCount {
  readonly flagKey: string;
  readonly variantKey: string | null;
  readonly count: number;
  readonly schema?: string;
}

/** The server's limits of one entry and of one request. */
export const MAX_COUNT = 1_000_000;
export const MAX_ENTRIES = 1000;

/** Exposures counted per schema, flag and variant; at most `limit` different ones, of which the oldest are dropped. */
export class ExposureCounts {
  /** The exposures that were dropped. */
  dropped = 0;
  readonly #limit: number;
  readonly #counts = new Map<string, ExposureCount>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** The number of different ones. */
  get size(): number {
    return this.#counts.size;
  }

  add({ flagKey, variantKey, count, schema }: ExposureCount): void {
    const name = JSON.stringify([schema ?? null, flagKey, variantKey]);
    const before = this.#counts.get(name)?.count ?? 0;
    this.#counts.set(name, { flagKey, variantKey, count: before + count, ...(schema === undefined ? {} : { schema }) });
    if (this.#counts.size <= this.#limit) return;
    const [oldest, { count: lost }] = this.#counts.entries().next().value!;
    this.#counts.delete(oldest);
    this.dropped += lost;
  }

  /** Takes the oldest, at most what one request holds. */
  take(): ExposureCount[] {
    const taken: ExposureCount[] = [];
    for (const [name, entry] of this.#counts) {
      if (taken.length === MAX_ENTRIES) break;
      const count = Math.min(entry.count, MAX_COUNT);
      taken.push({ ...entry, count });
      if (count === entry.count) this.#counts.delete(name);
      else this.#counts.set(name, { ...entry, count: entry.count - count });
    }
    return taken;
  }
}
