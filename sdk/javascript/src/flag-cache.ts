/** Saves a store's flags at a bounded pace, and loads them for the next start. */
import type { Clock } from "./clock.js";
import { readSaved, savedText, storageKey, type SavedFlags } from "./core/saved-flags.js";
import type { Flag } from "./core/flag.js";
import type { Selection } from "./core/selection.js";
import { asError, FlagentError } from "./errors.js";

/** Where flags are kept between two runs. Either method may be asynchronous; what they raise is reported and disturbs nothing else. */
export interface Persistence {
  load(key: string): string | null | undefined | Promise<string | null | undefined>;
  save(key: string, text: string): void | Promise<void>;
}

/** Saved flags or a bootstrap are not believed; the store begins without them. */
export class SavedFlagsIgnored extends FlagentError {
  override readonly name = "SavedFlagsIgnored";

  constructor(what: "cache" | "bootstrap", readonly reason: string) {
    super(`the ${what} is ignored: ${reason.replaceAll("_", " ")}`);
  }
}

export interface FlagCacheOptions {
  readonly persistence: Persistence;
  readonly url: string;
  readonly selection: Selection;
  readonly maxAgeMs: number;
  readonly clock: Clock;
  credential(): string | null | Promise<string>;
  report(error: Error): void;
}

const CHANGE_MS = 1000;
const ID_MS = 60_000;
/** A storage that does not answer must not keep the client from connecting. */
const LOAD_MS = 2000;

export class FlagCache {
  readonly #options: FlagCacheOptions;
  #key: string | null = null;
  #timer: unknown = null;
  #dueAt = Infinity;
  #savedAt = -Infinity;
  #savedId: string | null = null;
  #hasChanged = false;
  #isSaving = false;
  #failure = "";
  #latest: { id: string; flags: () => Iterable<Flag> } | null = null;

  constructor(options: FlagCacheOptions) {
    this.#options = options;
  }

  /** What was saved, if it is believed; at once where the credential and the storage are synchronous. */
  load(): SavedFlags | null | Promise<SavedFlags | null> {
    const { persistence, clock } = this.#options;
    const read = (text: string | null | undefined) => {
      if (text == null) return null;
      const saved = readSaved(text, this.#key!, Date.now(), this.#options.maxAgeMs);
      if (typeof saved !== "string") {
        this.#savedId = saved.id;
        return saved;
      }
      this.#options.report(new SavedFlagsIgnored("cache", saved));
      return null;
    };
    const failed = (error: unknown) => {
      if (error instanceof SavedFlagsIgnored) this.#options.report(error);
      else this.#report(asError(error));
      return null;
    };
    try {
      const key = this.#resolveKey();
      if (typeof key === "string") {
        const text = persistence.load(key);
        if (text == null || typeof text === "string") return read(text);
        return this.#inTime(text, clock).then(read).catch(failed);
      }
      return key.then((ready) => this.#inTime(Promise.resolve(persistence.load(ready)), clock)).then(read).catch(failed);
    } catch (error) {
      return failed(error);
    }
  }

  /** The store has moved to `id`; `hasChanged`: its flags too. */
  moved(id: string, flags: () => Iterable<Flag>, hasChanged: boolean): void {
    this.#latest = { id, flags };
    this.#hasChanged ||= hasChanged;
    if (!this.#hasChanged && id === this.#savedId) return;
    const { clock } = this.#options;
    const dueAt = Math.max(this.#savedAt + (this.#hasChanged ? CHANGE_MS : ID_MS), clock.now());
    if (dueAt >= this.#dueAt) return;
    this.#clearTimer();
    this.#dueAt = dueAt;
    this.#timer = clock.setTimer(() => {
      this.#clearTimer();
      void this.#save();
    }, dueAt - clock.now());
  }

  /** Saves what is not saved yet. */
  flush(): void {
    this.#clearTimer();
    if (this.#latest !== null && (this.#hasChanged || this.#latest.id !== this.#savedId)) void this.#save();
  }

  #resolveKey(): string | Promise<string> {
    if (this.#key !== null) return this.#key;
    const { url, selection, credential } = this.#options;
    const found = (one: string | null) => (this.#key = storageKey(url, selection, one));
    const one = credential();
    return one === null || typeof one === "string" ? found(one) : one.then(found);
  }

  async #save(): Promise<void> {
    // A storage that is slower than the changes gets the newest state when it is done.
    if (this.#isSaving) return;
    const { clock, persistence } = this.#options;
    this.#isSaving = true;
    const { id, flags } = this.#latest!;
    const hadChanged = this.#hasChanged;
    this.#hasChanged = false;
    this.#savedAt = clock.now();
    try {
      const key = this.#resolveKey();
      const known = typeof key === "string" ? key : await key;
      const saving = persistence.save(known, savedText(known, Date.now(), id, flags()));
      if (saving !== undefined) await saving;
      this.#savedId = id;
      this.#failure = "";
    } catch (error) {
      this.#hasChanged ||= hadChanged;
      this.#report(asError(error));
    }
    this.#isSaving = false;
    const latest = this.#latest!;
    if (latest.id !== id) this.moved(latest.id, latest.flags, false);
  }

  /** Reports each cause once, until it works again. The message of a file's error has the name of a temporary file, which differs each time. */
  #report(error: Error & { code?: string }): void {
    const { message, code = message } = error;
    if (code === this.#failure) return;
    this.#failure = code;
    this.#options.report(new FlagentError(`the flags cannot be kept: ${error.message}`, { cause: error }));
  }

  #inTime<T>(result: Promise<T>, clock: Clock): Promise<T> {
    return new Promise((resolve, reject) => {
      const timer = clock.setTimer(() => reject(new Error(`the persistence did not answer within ${LOAD_MS} ms`)), LOAD_MS);
      result.then(resolve, reject).finally(() => clock.clearTimer(timer));
    });
  }

  #clearTimer(): void {
    if (this.#timer !== null) this.#options.clock.clearTimer(this.#timer);
    this.#timer = null;
    this.#dueAt = Infinity;
  }
}
