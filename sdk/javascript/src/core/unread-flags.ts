/** Saved flags that are believed, each parsed when it is first read: of ten thousand flags a program reads a few in its first second. */
import { rememberDigest } from "./digest.js";
import type { Flag } from "./flag.js";

/** A flag's JSON and its digest. */
type UnreadFlag = readonly [text: string, digest: number];

/** Saved flags: key, id and digest of each in `index`, its JSON in `texts`. */
export interface UnreadFlags {
  readonly index: readonly (string | number)[];
  readonly texts: readonly string[];
}

/** The flags of a store by key. */
export class FlagMap extends Map<string, Flag> {
  /** Adds saved flags, and their keys by id. */
  fill({ index, texts }: UnreadFlags, byId: Map<string, string>): void {
    for (const [n, text] of texts.entries()) {
      const [key, id, digest] = index.slice(3 * n, 3 * n + 3) as [string, number, number];
      super.set(key, [text, digest] satisfies UnreadFlag as unknown as Flag);
      byId.set(String(id), key);
    }
  }

  override get(key: string): Flag | undefined {
    const found = super.get(key) as Flag | UnreadFlag | undefined;
    if (!Array.isArray(found)) return found as Flag | undefined;
    const flag: Flag = JSON.parse(found[0]);
    rememberDigest(flag, found[1]);
    super.set(key, flag);
    return flag;
  }

  override *values(): MapIterator<Flag> {
    for (const key of this.keys()) yield this.get(key)!;
  }

  override *[Symbol.iterator](): MapIterator<[string, Flag]> {
    for (const key of this.keys()) yield [key, this.get(key)!];
  }
}
