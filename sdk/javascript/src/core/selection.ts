/** What a subscription or a store selects: the union of its parts, narrowed by `types` and `schemas`. */
import type { AnyEvent } from "./event.js";
import { tagsOf, type Flag } from "./flag.js";

export interface Selection {
  /** All events about flags. */
  readonly all?: boolean;
  readonly flags?: readonly string[];
  readonly flagIDs?: readonly number[];
  /** Flags with any of these tags, before or after the change. */
  readonly tags?: readonly string[];
  /** Every `segment_*` and `distribution_*` event. */
  readonly segments?: boolean;
  /** Watched tables. */
  readonly tables?: readonly string[];
  /** Only these event types. */
  readonly types?: readonly string[];
  /** Only these tenants. */
  readonly schemas?: readonly string[];
}

export const EVERYTHING: Selection = Object.freeze({ all: true });

const LISTS = ["flags", "flagIDs", "tags", "tables"] as const;

/** The server's limit of one message, and of one event stream. */
export const MAX_VALUES = 1000;
/** Half of the server's limit of one message: the other fields need some of it. */
const MAX_PART_BYTES = 64 * 1024;
/** The server's limit is 64 KiB, with the parameters that are not the selection. */
const MAX_QUERY_BYTES = 60_000;
/** Tables, types and schemas are part of the first message, whatever else is in it. */
const MAX_TABLES = 900;
/** The types and schemas of one subscription. */
const MAX_NARROWING = 100;
const MAX_TEXT = 256;
const MAX_FLAG_ID = 2 ** 31 - 1;

/** Whether a flag in a snapshot belongs to the selection. */
export function selectsFlag(selection: Selection, flag: Flag): boolean {
  if (selection.schemas?.length && flag.schema !== undefined && !selection.schemas.includes(flag.schema)) return false;
  return isEverything(selection)
    || (selection.flags?.includes(flag.key) ?? false)
    || (selection.flagIDs?.includes(flag.id) ?? false)
    || (selection.tags?.length ? tagsOf(flag).some((tag) => selection.tags!.includes(tag)) : false);
}

/** Whether the selection includes flags, and so needs a snapshot; false for segment events and tables alone. */
export function selectsFlags(selection: Selection): boolean {
  return isEverything(selection) || Boolean(selection.flags?.length || selection.flagIDs?.length || selection.tags?.length);
}

/**
 * Whether an event belongs to the selection. `formerTags` are the flag's tags before the event, null if unknown; an event
 * that no selection takes for that reason is routed by `EventRouter`.
 */
export function selectsEvent(selection: Selection, event: AnyEvent, formerTags: readonly string[] | null): boolean {
  if (selection.types?.length && !selection.types.includes(event.typeName)) return false;
  if (selection.schemas?.length && event.schema !== null && !selection.schemas.includes(event.schema)) return false;
  const table = event.raw.table;
  if (typeof table === "string" && event.flagKey === null) {
    return tableNames(table, event.schema ?? "").some((name) => selection.tables?.includes(name));
  }
  if (isEverything(selection)) return true;
  if (selection.segments && (event.type === "segment_updated" || event.type === "distribution_updated")) return true;
  if (event.flagKey !== null && selection.flags?.includes(event.flagKey)) return true;
  if (event.flagID !== null && selection.flagIDs?.includes(event.flagID)) return true;
  if (!selection.tags?.length) return false;
  const tags = [...(event.flag === null ? [] : tagsOf(event.flag)), ...(formerTags ?? [])];
  return tags.some((tag) => selection.tags!.includes(tag));
}

/** The names of a row's table in a selection: with its schema, and without. A part with a dot or a quote is quoted as in SQL. */
function tableNames(table: string, schema: string): string[] {
  const prefix = `${/[."]/.test(schema) ? `"${schema.replaceAll('"', '""')}"` : schema}.`;
  return [table, table.startsWith(prefix) ? table.slice(prefix.length) : table];
}

/** An empty selection means everything, as on the wire. */
export function isEverything(selection: Selection): boolean {
  return selection.all === true
    || (!selection.segments && LISTS.every((name) => !selection[name]?.length));
}

/** The union; it narrows by type or schema only if every part does. */
export function union(selections: readonly Selection[]): Selection | null {
  if (selections.length === 0) return null;
  const merged = <T>(name: "flags" | "flagIDs" | "tags" | "tables" | "types" | "schemas") =>
    [...new Set(selections.flatMap((selection) => [...(selection[name] ?? [])] as T[]))];
  const narrowed = (name: "types" | "schemas") => selections.every((selection) => selection[name]?.length);
  return prune({
    all: selections.some(isEverything),
    flags: merged<string>("flags"),
    flagIDs: merged<number>("flagIDs"),
    tags: merged<string>("tags"),
    tables: merged<string>("tables"),
    segments: selections.some((selection) => selection.segments),
    types: narrowed("types") ? merged<string>("types") : [],
    schemas: narrowed("schemas") ? merged<string>("schemas") : [],
  });
}

/** Whether `whole` selects everything that `part` selects. */
export function covers(whole: Selection, part: Selection): boolean {
  for (const name of ["types", "schemas"] as const) {
    const allowed = whole[name];
    if (allowed?.length && !(part[name]?.length && part[name].every((item) => allowed.includes(item)))) return false;
  }
  const within = (name: (typeof LISTS)[number]) => {
    const known = new Set<unknown>(whole[name]);
    return (part[name] ?? []).every((item) => known.has(item));
  };
  if (isEverything(whole)) return within("tables");
  if (isEverything(part)) return false;
  return (!part.segments || whole.segments === true) && LISTS.every(within);
}

/** The query of `GET /api/v1/events/stream`. */
export function toQuery(selection: Selection): URLSearchParams {
  const query = new URLSearchParams();
  const add = (name: string, values: readonly (string | number)[] | undefined) =>
    values?.forEach((value) => query.append(name, String(value)));
  if (!isEverything(selection)) {
    add("flag", selection.flags);
    add("flagID", selection.flagIDs);
    add("tag", selection.tags);
    if (selection.segments) query.append("segments", "true");
  }
  add("table", selection.tables);
  add("type", selection.types);
  add("schema", selection.schemas);
  return query;
}

/** The selections of the WebSocket's `subscribe` and `unsubscribe`. */
export function toSubscribe(selection: Selection): Record<string, unknown> {
  const { all, ...rest } = prune(selection);
  return isEverything(selection) || all ? { ...rest, subscribeAll: true } : rest;
}

function prune(selection: Selection): Selection {
  return Object.fromEntries(Object.entries(selection).filter(([, value]) => (Array.isArray(value) ? value.length > 0 : value)));
}

/** What `former` selects and `now` does not, part by part; null if nothing. */
export function minus(former: Selection, now: Selection): Selection | null {
  const all = isEverything(former) && !isEverything(now);
  const rest = <T>(had: readonly T[] | undefined, has: readonly T[] | undefined) => {
    const kept = new Set(has);
    return had?.filter((item) => !kept.has(item)) ?? [];
  };
  const gone: Selection = {
    all,
    flags: rest(former.flags, now.flags),
    flagIDs: rest(former.flagIDs, now.flagIDs),
    tags: rest(former.tags, now.tags),
    tables: rest(former.tables, now.tables),
    segments: former.segments === true && !now.segments && !isEverything(now),
  };
  const isNothing = !gone.all && !gone.segments && LISTS.every((name) => gone[name]!.length === 0);
  return isNothing ? null : prune(gone);
}

/** Selections of one message each that add up to this one; the first has every table. Types and schemas are in each. */
export function parts(selection: Selection): Selection[] {
  const { all, segments, types = [], schemas = [] } = selection;
  const narrowing = prune({ types, schemas });
  const base = { count: types.length + schemas.length, bytes: [...types, ...schemas].reduce((sum, text) => sum + jsonBytes(text), 0) };
  let { count, bytes } = base;
  const divided: Record<string, unknown[]>[] = [{}];
  for (const name of ["tables", "flags", "flagIDs", "tags"] as const) {
    for (const value of selection[name] ?? []) {
      const needed = jsonBytes(value);
      if (count > base.count && (count >= MAX_VALUES || bytes + needed > MAX_PART_BYTES)) {
        divided.push({});
        ({ count, bytes } = base);
      }
      (divided.at(-1)![name] ??= []).push(value);
      count++;
      bytes += needed;
    }
  }
  return divided.map((part, n) => ({ ...(n === 0 ? prune({ ...(all === undefined ? {} : { all }), ...(segments === undefined ? {} : { segments }) }) : {}), ...part, ...narrowing }));
}

/**
 * The messages that subscribe to a selection, without request ids; `start` is `lastEventId`, `snapshot`, or empty.
 *
 * A message holds 1 000 values at most; a larger selection is sent in parts. Where it resumes or needs a snapshot, the first
 * message selects everything, so that the replay or the snapshot arrives in one piece and in order, and the last one takes that
 * back. Meanwhile the client narrows.
 */
export function subscribeMessages(selection: Selection, start: Readonly<Record<string, unknown>> = {}): Record<string, unknown>[] {
  const [first, ...rest] = parts(selection).map((part) => ({ type: "subscribe", ...toSubscribe(part) }));
  if (rest.length === 0 || Object.keys(start).length === 0) return [{ ...first, ...start }, ...rest];
  const { tables, types, schemas } = selection;
  const wide = prune({ all: true, ...(tables && { tables }), ...(types && { types }), ...(schemas && { schemas }) });
  const { tables: _, ...narrowed } = wide;
  const last = isEverything(selection) ? [] : [{ type: "unsubscribe", ...toSubscribe(narrowed) }];
  return [{ type: "subscribe", ...toSubscribe(wide), ...start }, first!, ...rest, ...last];
}

/** How much of a connection's limits selections take; the sum of several is an upper bound of their union. */
export interface Weight {
  readonly selectors: number;
  readonly narrowing: number;
  readonly queryBytes: number;
  readonly tables: number;
  readonly tableBytes: number;
}

export const NO_WEIGHT: Weight = { selectors: 0, narrowing: 0, queryBytes: 0, tables: 0, tableBytes: 0 };

export function weightOf({ all, segments, flags = [], flagIDs = [], tags = [], tables = [], types = [], schemas = [] }: Selection): Weight {
  const texts = [...flags, ...tags, ...tables, ...types, ...schemas];
  return {
    selectors: flags.length + flagIDs.length + tags.length + tables.length + Number(all === true) + Number(segments === true),
    narrowing: types.length + schemas.length,
    queryBytes: texts.reduce((sum, text) => sum + encodedBytes(text) + 8, 18 * flagIDs.length),
    tables: tables.length,
    tableBytes: tables.reduce((sum, text) => sum + jsonBytes(text), 0),
  };
}

export function addWeights(a: Weight, b: Weight): Weight {
  const add = (name: keyof Weight) => a[name] + b[name];
  return { selectors: add("selectors"), narrowing: add("narrowing"), queryBytes: add("queryBytes"), tables: add("tables"), tableBytes: add("tableBytes") };
}

/** What one connection can select; `isQuery`: the selection is the query of a URL. */
export interface SelectionLimits {
  readonly selectors: number;
  readonly isQuery: boolean;
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
  if (refusal(limits, upperBound) === null) return;
  const reason = refusal(limits, weightOf(union(selections())!));
  if (reason !== null) throw new RangeError(reason);
}

function refusal({ selectors, isQuery }: SelectionLimits, weight: Weight): string | null {
  if (weight.selectors + (isQuery ? weight.narrowing : 0) > selectors) {
    return `this client would select ${weight.selectors} flags, ids, tags and tables, but the limit of one ${isQuery ? "event stream" : "connection"} is ${selectors}; `
      + `select everything, or use ${isQuery ? "FlagentWebSocketClient" : "another client for some"}`;
  }
  if (isQuery && weight.queryBytes > MAX_QUERY_BYTES) {
    return `the selection would be a query of ${weight.queryBytes} bytes, but the limit is ${MAX_QUERY_BYTES}; select everything, or use FlagentWebSocketClient`;
  }
  if (weight.tables > MAX_TABLES || weight.tableBytes > MAX_PART_BYTES) {
    return `this client would select ${weight.tables} tables, with ${weight.tableBytes} bytes of names, but the limit of one connection is ${MAX_TABLES} tables and `
      + `${MAX_PART_BYTES} bytes; use another client for some`;
  }
  return null;
}

function encodedBytes(text: string): number {
  return /^[\w.~-]*$/.test(text) ? text.length : new URLSearchParams([["", text]]).toString().length - 1;
}

const ENCODER = new TextEncoder();

function jsonBytes(value: string | number): number {
  const json = JSON.stringify(value);
  return (/^[ -~]*$/.test(json) ? json.length : ENCODER.encode(json).length) + 1;
}
