/**
 * The digest of flags, which the server's keep-alives carry: `<count>:<hex8>`, the number of flags and the sum modulo
 * 2^32 of the CRC-32 of each flag's canonical JSON. A sum does not depend on order and changes in one step per flag.
 */
import { crc32 } from "./crc32.js";
import { BOOKKEEPING, type Flag } from "./flag.js";

/** The sorted keys of each shape of object, with their JSON: flags have few shapes, and sorting is most of the work. */
const shapes = new Map<string, readonly (readonly [string, string])[]>();
const MAX_SHAPES = 1000;

function sortedKeys(value: object): readonly (readonly [string, string])[] {
  const keys = Object.keys(value);
  const shape = keys.join("\0");
  let sorted = shapes.get(shape);
  if (sorted === undefined) {
    sorted = keys.sort(byCodePoint).map((key) => [key, `${JSON.stringify(key)}:`]);
    if (shapes.size < MAX_SHAPES) shapes.set(shape, sorted);
  }
  return sorted;
}

/** JSON with object keys sorted by code point and without blanks, leaving out the keys in `skip` of the outermost object. */
export function canonicalJson(value: unknown, skip?: ReadonlySet<string>): string {
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  let text = "";
  if (Array.isArray(value)) {
    for (const item of value) text += (text === "" ? "" : ",") + canonicalJson(item ?? null);
    return `[${text}]`;
  }
  for (const [key, quoted] of sortedKeys(value)) {
    const item = (value as Record<string, unknown>)[key];
    if (item !== undefined && !skip?.has(key)) text += (text === "" ? "" : ",") + quoted + canonicalJson(item);
  }
  return `{${text}}`;
}

export function canonicalFlag(flag: Flag): string {
  return canonicalJson(flag, BOOKKEEPING);
}

const sums = new WeakMap<Flag, number>();

/** The CRC-32 of a flag, computed once per object. */
export function flagDigest(flag: Flag): number {
  let sum = sums.get(flag);
  if (sum === undefined) sums.set(flag, (sum = crc32(canonicalFlag(flag))));
  return sum;
}

/** The CRC-32 of a flag is known from where it was saved. */
export function rememberDigest(flag: Flag, sum: number): void {
  sums.set(flag, sum);
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
