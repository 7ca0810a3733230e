/** Flags that a store begins with: what is saved, what is believed of it, and under which key. */
import { byCodePoint, digestOf } from "./digest.js";
import { isBefore, parseEventId, positionOf } from "./event-id.js";
import { isFlag, type Flag } from "./flag.js";
import { isEverything, type Selection } from "./selection.js";
import { sha256 } from "./sha256.js";

const FORMAT = 1;
const MAX_LENGTH = 256 * 1024 * 1024;
/** A clock that was corrected meanwhile. */
const MAX_FUTURE_MS = 5 * 60_000;

export interface SavedFlags {
  /** The id to resume after; null: a snapshot is needed. */
  readonly id: string | null;
  readonly flags: readonly Flag[];
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
  return JSON.stringify({ format: FORMAT, key, savedAt: new Date(now).toISOString(), id, position: positionOf(id), digest: digestOf(all), flags: all });
}

/** What was saved; or why it is ignored. `now` and `maxAgeMs` in milliseconds. */
export function readSaved(text: string, key: string, now: number, maxAgeMs: number): SavedFlags | IgnoredReason {
  const document = parsed(text);
  if (typeof document === "string") return document;
  const { savedAt } = document;
  const time = typeof savedAt === "string" && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/.test(savedAt) ? Date.parse(savedAt) : NaN;
  const saved = believed(document);
  if (saved === "format") return saved;
  if (typeof document.key !== "string" || Number.isNaN(time) || saved === "wrong_types") return "wrong_types";
  if (document.key !== key) return "other_key";
  if (now - time > maxAgeMs) return "too_old";
  if (time - now > MAX_FUTURE_MS) return "in_the_future";
  return saved;
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

function believed({ format, id, position, digest, flags }: Record<string, unknown>): SavedFlags | IgnoredReason {
  if (format !== FORMAT) return "format";
  const isText = typeof id === "string" && id !== "" && typeof digest === "string" && (position === null || typeof position === "string");
  if (!isText || !Array.isArray(flags) || !flags.every(isFlag)) return "wrong_types";
  return digestOf(flags) === digest ? { id, flags } : "digest";
}

/** The cache, unless the bootstrap is further in the same log. */
export function isBootstrapNewer(cacheId: string | null, bootstrapId: string | null): boolean {
  const [cache, bootstrap] = [cacheId, bootstrapId].map(parseEventId);
  return cache != null && bootstrap != null && cache.log === bootstrap.log && isBefore(cache, bootstrap);
}
