/** What one connection can select, checked before anything is sent. Each transport has its own limits, so that a bundle holds only those it needs. */
import { union, type Selection } from "./selection.js";

/** The server's limit of one message, and of one event stream. */
export const MAX_VALUES = 1000;
/** The types and schemas of one subscription. */
const MAX_NARROWING = 100;
const MAX_TEXT = 256;
const MAX_FLAG_ID = 2 ** 31 - 1;

/** How much of a connection's limits selections take; the sum of several is an upper bound of their union. */
export type Weight = readonly number[];

export interface SelectionLimits {
  weigh(selection: Selection): Weight;
  /** Why the connection cannot carry so much; null if it can. */
  refusal(weight: Weight): string | null;
  /** Whether the selection is sent in parts, and therefore is wider for a moment. */
  isDivided(selection: Selection): boolean;
}

export const NO_WEIGHT: Weight = [];

export function addWeights(a: Weight, b: Weight): Weight {
  return b.map((part, n) => part + (a[n] ?? 0));
}

/** Flags, ids, tags, tables, everything and segments each count as one. */
export function selectorCount({ all, segments, flags = [], flagIDs = [], tags = [], tables = [] }: Selection): number {
  return flags.length + flagIDs.length + tags.length + tables.length + Number(all === true) + Number(segments === true);
}

/** Raises TypeError or RangeError for a value that the server would refuse. */
export function checkValues(selection: Selection): void {
  for (const name of ["flags", "tags", "tables", "types", "schemas"] as const) {
    for (const text of selection[name] ?? []) {
      // The server counts characters, a string's length counts UTF-16 units.
      const isText = typeof text === "string" && text !== "" && (text.length <= MAX_TEXT || [...text].length <= MAX_TEXT);
      if (!isText) throw new TypeError(`${name} contains ${String(JSON.stringify(text)).slice(0, 60)}; it must be a non-empty string of at most ${MAX_TEXT} characters`);
    }
  }
  for (const id of selection.flagIDs ?? []) {
    if (!Number.isInteger(id) || id < 1 || id > MAX_FLAG_ID) throw new TypeError(`flagIDs contains ${String(id)}; it must be a whole number from 1 to ${MAX_FLAG_ID}`);
  }
  const narrowing = (selection.types?.length ?? 0) + (selection.schemas?.length ?? 0);
  if (narrowing > MAX_NARROWING) throw new RangeError(`a subscription has ${narrowing} types and schemas, but the limit is ${MAX_NARROWING}`);
}

/** Raises RangeError if these selections are more than one connection carries. `upperBound` is the sum of their weights. */
export function checkLimits(limits: SelectionLimits, upperBound: Weight, selections: () => readonly Selection[]): void {
  // Equal selectors of several subscriptions count once, but comparing them takes time.
  if (limits.refusal(upperBound) === null) return;
  const reason = limits.refusal(limits.weigh(union(selections())!));
  if (reason !== null) throw new RangeError(reason);
}
