/**
 * The digest of flags, which the server's keep-alives carry: `<count>:<hex8>`, the number of flags and the sum modulo
 * 2^32 of the CRC-32 of each flag's canonical JSON. A sum does not depend on order and changes in one step per flag.
 */
import { crc32 } from "./crc32.js";
import type { Flag } from "./flag.js";

/** Bookkeeping, which changes without an event, and the schema, which only some snapshots carry. */
const EXCLUDED = new Set(["snapshotID", "updatedAt", "updatedBy", "schema"]);

/** JSON with object keys sorted by code point and without blanks, leaving out the keys in `skip` of the outermost object. */
export function canonicalJson(value: unknown, skip?: ReadonlySet<string>): string {
  if (Array.isArray(value)) return `[${value.map((item) => canonicalJson(item ?? null)).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const parts: string[] = [];
  for (const key of Object.keys(value).sort(byCodePoint)) {
    const item = (value as Record<string, unknown>)[key];
    if (item === undefined || skip?.has(key)) continue;
    parts.push(`${JSON.stringify(key)}:${canonicalJson(item)}`);
  }
  return `{${parts.join(",")}}`;
}

export function canonicalFlag(flag: Flag): string {
  return canonicalJson(flag, EXCLUDED);
}

const sums = new WeakMap<Flag, number>();

/** The CRC-32 of a flag, computed once per object. */
export function flagDigest(flag: Flag): number {
  let sum = sums.get(flag);
  if (sum === undefined) sums.set(flag, (sum = crc32(canonicalFlag(flag))));
  return sum;
}

export function digestOf(flags: Iterable<Flag>): string {
  let count = 0;
  let sum = 0;
  for (const flag of flags) {
    count++;
    sum = (sum + flagDigest(flag)) >>> 0;
  }
  return `${count}:${sum.toString(16).padStart(8, "0")}`;
}

/** Code point order differs from JavaScript's own (code units) for characters beyond U+FFFF. */
export function byCodePoint(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let at = 0; at < length; at++) {
    const x = a.charCodeAt(at);
    const y = b.charCodeAt(at);
    if (x !== y) return rank(x) - rank(y);
  }
  return a.length - b.length;
}

/** Surrogates (astral characters) sort above the rest of the basic plane. */
function rank(unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit;
}
