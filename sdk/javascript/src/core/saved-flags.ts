/**
 * Flags that a store begins with: what is saved, what is believed of it, and under which key.
 *
 * `checksum` is the CRC-32 of the text after it. Where it is right, the text is what was written: then `index` says which flags there are (key, id and
 * digest of each), and each is parsed when it is first read. Otherwise the whole text is parsed, to say what is wrong with it; a document of an SDK that
 * writes no checksum is believed by its digest.
 */
import { crc32 } from "./crc32.js";
import { byCodePoint, digestOf, flagDigest } from "./digest.js";
import { isBefore, parseEventId, positionOf } from "./event-id.js";
import { isFlag, type Flag } from "./flag.js";
import { isEverything, type Selection } from "./selection.js";
import { sha256 } from "./sha256.js";
import type { UnreadFlags } from "./unread-flags.js";

const FORMAT = 1;
const START = /^\{"format":1,"checksum":"([0-9a-f]{8})",/;
const FLAGS = ',"flags":[';
/** Nowhere else in the text of a document. */
const SEPARATOR = ",\n";
const MAX_LENGTH = 256 * 1024 * 1024;
/** A clock that was corrected meanwhile. */
const MAX_FUTURE_MS = 5 * 60_000;

export interface SavedFlags {
  /** The id to resume after; null: a snapshot is needed. */
  readonly id: string | null;
  readonly flags: readonly Flag[];
  /** In place of `flags`. */
  readonly unread?: UnreadFlags;
}

/** Why a document is not believed. */
export type IgnoredReason = "too_large" | "not_json" | "wrong_types" | "format" | "other_key" | "too_old" | "in_the_future" | "digest";

/** The address of a server as the key has it: `http` or `https`, without user, query, fragment, default port and slash at the end. */
export function normalAddress(url: string): string {
  const { protocol, host, pathname } = new URL(url.replace(/^ws/i, "http"));
  return `${protocol}//${host}${pathname.replace(/\/+$/, "")}`;
}

export function selectionText(selection: Selection): string {
  const texts = (values: readonly string[] = []) => [...new Set(values)].sort(byCodePoint);
  return JSON.stringify({
    all: isEverything(selection), flags: texts(selection.flags), ids: [...new Set(selection.flagIDs)].sort((a, b) => a - b),
    schemas: texts(selection.schemas), tags: texts(selection.tags), types: texts(selection.types),
  });
}

/** One user's flags are never shown to another: the key holds the credential's hash. */
export function storageKey(url: string, selection: Selection, credential: string | null): string {
  return sha256([normalAddress(url), selectionText(selection), credential === null ? "-" : sha256(credential)].join("\n"));
}

export function savedText(key: string, now: number, id: string, flags: Iterable<Flag>): string {
  const all = [...flags];
  // With several schemas, a key does not name one flag.
  const index = all.some(({ schema }) => schema !== undefined) ? undefined : all.flatMap((flag) => [flag.key, flag.id, flagDigest(flag)]);
  const members = JSON.stringify({ key, savedAt: new Date(now).toISOString(), id, position: positionOf(id), digest: digestOf(all), index });
  const rest = `${members.slice(1, -1)}${FLAGS}${all.map((flag) => JSON.stringify(flag)).join(SEPARATOR)}]}`;
  return `{"format":${FORMAT},"checksum":"${checksum(rest)}",${rest}`;
}

function checksum(text: string): string {
  return crc32(text).toString(16).padStart(8, "0");
}

/** The members of a document whose checksum is right, without its flags where it has an index; null for any other text. */
function readUnread(text: string): { document: Record<string, unknown>; unread?: UnreadFlags } | null {
  const start = START.exec(text);
  const rest = text.slice(start?.[0].length);
  if (start === null || checksum(rest) !== start[1]) return null;
  const at = rest.indexOf(FLAGS);
  const { index, ...members } = JSON.parse(`{${rest.slice(0, at)}}`);
  const texts = rest.slice(at + FLAGS.length, -"]}".length);
  const document = { ...members, format: FORMAT, flags: index === undefined ? JSON.parse(`[${texts}]`) : [] };
  return index === undefined ? { document } : { document, unread: { index, texts: texts === "" ? [] : texts.split(SEPARATOR) } };
}

/** What was saved; or why it is ignored. `now` and `maxAgeMs` in milliseconds. */
export function readSaved(text: string, key: string, now: number, maxAgeMs: number): SavedFlags | IgnoredReason {
  if (text.length > MAX_LENGTH) return "too_large";
  const { document, unread } = readUnread(text) ?? { document: parsed(text) };
  if (typeof document === "string") return document;
  const { savedAt } = document;
  const time = typeof savedAt === "string" && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/.test(savedAt) ? Date.parse(savedAt) : NaN;
  const saved = believed(document, unread);
  if (saved === "format") return saved;
  if (typeof document.key !== "string" || Number.isNaN(time) || saved === "wrong_types") return "wrong_types";
  if (document.key !== key) return "other_key";
  if (now - time > maxAgeMs) return "too_old";
  if (time - now > MAX_FUTURE_MS) return "in_the_future";
  return typeof saved !== "string" && document.checksum !== undefined ? "digest" : saved;
}

/** What the application brings: a saved document, a `snapshot` message or its text, or a list of flags. */
export function readBootstrap(given: unknown): SavedFlags | IgnoredReason {
  const value: unknown = typeof given === "string" ? parsed(given, true) : given;
  if (typeof value === "string") return value as IgnoredReason;
  if (Array.isArray(value)) return value.every(isFlag) ? { id: null, flags: value } : "wrong_types";
  if (typeof value !== "object" || value === null) return "wrong_types";
  const { type, id = null, flags, format, digest } = value as Record<string, unknown>;
  if (format !== undefined || digest !== undefined) return believed(value as Record<string, unknown>);
  const isSnapshot = (type === undefined || type === "snapshot") && (id === null || typeof id === "string");
  return isSnapshot && Array.isArray(flags) && flags.every(isFlag) ? { id: id as string | null, flags } : "wrong_types";
}

function parsed(text: string, allowsList: true): unknown;
function parsed(text: string): Record<string, unknown> | IgnoredReason;
function parsed(text: string, allowsList = false): unknown {
  if (text.length > MAX_LENGTH) return "too_large";
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return "not_json";
  }
  if (allowsList && Array.isArray(value)) return value;
  return typeof value === "object" && value !== null && !Array.isArray(value) ? value : "wrong_types";
}

function believed({ format, id, position, digest, flags }: Record<string, unknown>, unread?: UnreadFlags): SavedFlags | IgnoredReason {
  if (format !== FORMAT) return "format";
  const isText = typeof id === "string" && id !== "" && typeof digest === "string" && (position === null || typeof position === "string");
  if (!isText || !Array.isArray(flags) || !flags.every(isFlag)) return "wrong_types";
  if (unread !== undefined) return { id, flags, unread };
  return digestOf(flags) === digest ? { id, flags } : "digest";
}

/** The cache, unless the bootstrap is further in the same log. */
export function isBootstrapNewer(cacheId: string | null, bootstrapId: string | null): boolean {
  const [cache, bootstrap] = [cacheId, bootstrapId].map(parseEventId);
  return cache != null && bootstrap != null && cache.log === bootstrap.log && isBefore(cache, bootstrap);
}
