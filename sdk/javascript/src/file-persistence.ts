/** Keeps a store's flags in a directory, for Node.js. */
import { isAscii } from "node:buffer";
import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, statSync } from "node:fs";
import { open, readdir, rename, stat, unlink } from "node:fs/promises";
import { join } from "node:path";
import { SavedFlagsIgnored, type Persistence } from "./flag-cache.js";

export { SavedFlagsIgnored };
export type { Persistence };

/** The same as the limit of a document's text. */
const MAX_BYTES = 256 * 1024 * 1024;
const LEFT_OVER_MS = 3_600_000;
const TEMPORARY = /^flagent-[0-9a-f]{32}\.json\.[0-9]+-[0-9a-f]+\.tmp$/;

/**
 * One file per server, selection and credential, `flagent-<32 hex digits>.json`, of mode 0600 in a directory of mode 0700. A file is written under a
 * temporary name, synced and renamed: whoever reads it gets a whole document, the former or the new one, also after a crash.
 */
export class FilePersistence implements Persistence {
  readonly #directory: string;
  #hasCleaned = false;

  constructor(directory: string) {
    if (typeof directory !== "string" || directory === "") throw new TypeError(`directory is ${JSON.stringify(directory)}; it must be the path of a directory`);
    this.#directory = directory;
  }

  /** Synchronous, so that a store can be read at once. A file beyond the limit is not read, and ignored as a damaged one. */
  load(key: string): string | null {
    const path = this.#path(key);
    try {
      const { size } = statSync(path);
      if (size > MAX_BYTES) throw new SavedFlagsIgnored("cache", "too_large");
      const bytes = readFileSync(path);
      // Most documents are ASCII, which is decoded eight times as fast as UTF-8.
      return bytes.toString(isAscii(bytes) ? "latin1" : "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
      throw error;
    }
  }

  async save(key: string, text: string): Promise<void> {
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    if (!this.#hasCleaned) await this.#clean();
    const path = this.#path(key);
    const temporary = `${path}.${process.pid}-${randomBytes(6).toString("hex")}.tmp`;
    try {
      const file = await open(temporary, "wx", 0o600);
      try {
        await file.writeFile(text, "utf8");
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(temporary, path);
    } catch (error) {
      await unlink(temporary).catch(() => undefined);
      throw error;
    }
  }

  #path(key: string): string {
    return join(this.#directory, `flagent-${key.slice(0, 32)}.json`);
  }

  /** Removes what processes that were killed have left behind. */
  async #clean(): Promise<void> {
    this.#hasCleaned = true;
    for (const name of await readdir(this.#directory)) {
      if (!TEMPORARY.test(name)) continue;
      const path = join(this.#directory, name);
      // Another process may remove it at the same time.
      const found = await stat(path).catch(() => null);
      if (found !== null && Date.now() - found.mtimeMs > LEFT_OVER_MS) await unlink(path).catch(() => undefined);
    }
  }
}
