/** What a subscription selects. Parts add up; `types` and `schemas` narrow the result. */
import type { AnyEvent } from "./event.js";
import { tagsOf, type Flag } from "./flag.js";

export interface Selector {
  /** Everything about flags. */
  readonly all?: boolean;
  readonly flags?: readonly string[];
  readonly flagIDs?: readonly number[];
  /** Flags that carry any of these tags, before or after the change. */
  readonly tags?: readonly string[];
  /** Every `segment_*` and `distribution_*` event. */
  readonly segments?: boolean;
  /** Tables that a data team watches. */
  readonly tables?: readonly string[];
  /** Only these event types. */
  readonly types?: readonly string[];
  /** Only these tenants. */
  readonly schemas?: readonly string[];
}

export const EVERYTHING: Selector = Object.freeze({ all: true });

const LISTS = ["flags", "flagIDs", "tags", "tables"] as const;

/** Whether a flag in a snapshot belongs to the selection. */
export function selectsFlag(selector: Selector, flag: Flag): boolean {
  if (selector.schemas?.length && flag.schema !== undefined && !selector.schemas.includes(flag.schema)) return false;
  return isEverything(selector)
    || (selector.flags?.includes(flag.key) ?? false)
    || (selector.flagIDs?.includes(flag.id) ?? false)
    || (selector.tags?.length ? tagsOf(flag).some((tag) => selector.tags!.includes(tag)) : false);
}

/** Whether the selection asks for flags, and so for a snapshot; not so for segments' events and tables alone. */
export function selectsFlags(selector: Selector): boolean {
  return isEverything(selector) || Boolean(selector.flags?.length || selector.flagIDs?.length || selector.tags?.length);
}

/**
 * Whether an event belongs to the selection. `formerTags` are the flag's tags before the event, as far as known;
 * where they are not known and the event came all the same, a selection by tags takes it: the flag has just left.
 */
export function selectsEvent(selector: Selector, event: AnyEvent, formerTags: readonly string[] | null): boolean {
  if (selector.types?.length && !selector.types.includes(event.typeName)) return false;
  if (selector.schemas?.length && event.schema !== null && !selector.schemas.includes(event.schema)) return false;
  const table = event.raw.table;
  if (typeof table === "string" && event.flagKey === null) {
    return tableNames(table, event.schema ?? "").some((name) => selector.tables?.includes(name));
  }
  if (isEverything(selector)) return true;
  if (selector.segments && (event.type === "segment_updated" || event.type === "distribution_updated")) return true;
  if (event.flagKey !== null && selector.flags?.includes(event.flagKey)) return true;
  if (event.flagID !== null && selector.flagIDs?.includes(event.flagID)) return true;
  if (!selector.tags?.length) return false;
  const tags = [...(event.flag === null ? [] : tagsOf(event.flag)), ...(formerTags ?? [])];
  return tags.some((tag) => selector.tags!.includes(tag));
}

/** How a selection may name the table of a row: with its schema, and without. A part with a dot or a quote in it is quoted as in SQL. */
function tableNames(table: string, schema: string): string[] {
  const prefix = `${/[."]/.test(schema) ? `"${schema.replaceAll('"', '""')}"` : schema}.`;
  return [table, table.startsWith(prefix) ? table.slice(prefix.length) : table];
}

/** Nothing selected means everything, as on the wire. */
export function isEverything(selector: Selector): boolean {
  return selector.all === true
    || (!selector.segments && LISTS.every((name) => !selector[name]?.length));
}

/** The union; it narrows by type or schema only where every part does. */
export function union(selectors: readonly Selector[]): Selector | null {
  if (selectors.length === 0) return null;
  const merged = <T>(name: "flags" | "flagIDs" | "tags" | "tables" | "types" | "schemas") =>
    [...new Set(selectors.flatMap((selector) => [...(selector[name] ?? [])] as T[]))];
  const narrowed = (name: "types" | "schemas") => selectors.every((selector) => selector[name]?.length);
  return prune({
    all: selectors.some(isEverything),
    flags: merged<string>("flags"),
    flagIDs: merged<number>("flagIDs"),
    tags: merged<string>("tags"),
    tables: merged<string>("tables"),
    segments: selectors.some((selector) => selector.segments),
    types: narrowed("types") ? merged<string>("types") : [],
    schemas: narrowed("schemas") ? merged<string>("schemas") : [],
  });
}

/** Whether everything that `part` selects is selected by `whole` too. */
export function covers(whole: Selector, part: Selector): boolean {
  for (const name of ["types", "schemas"] as const) {
    const allowed = whole[name];
    if (allowed?.length && !(part[name]?.length && part[name].every((item) => allowed.includes(item)))) return false;
  }
  const within = (name: (typeof LISTS)[number]) =>
    (part[name] ?? []).every((item) => (whole[name] as readonly unknown[] | undefined)?.includes(item));
  if (isEverything(whole)) return within("tables");
  if (isEverything(part)) return false;
  return (!part.segments || whole.segments === true) && LISTS.every(within);
}

/** The query of `GET /api/v1/events/stream`. */
export function toQuery(selector: Selector): URLSearchParams {
  const query = new URLSearchParams();
  const add = (name: string, values: readonly (string | number)[] | undefined) =>
    values?.forEach((value) => query.append(name, String(value)));
  if (!isEverything(selector)) {
    add("flag", selector.flags);
    add("flagID", selector.flagIDs);
    add("tag", selector.tags);
    if (selector.segments) query.append("segments", "true");
  }
  add("table", selector.tables);
  add("type", selector.types);
  add("schema", selector.schemas);
  return query;
}

/** The selectors of the WebSocket's `subscribe` and `unsubscribe`. */
export function toSubscribe(selector: Selector): Record<string, unknown> {
  const { all, ...rest } = prune(selector);
  return isEverything(selector) || all ? { ...rest, subscribeAll: true } : rest;
}

function prune(selector: Selector): Selector {
  return Object.fromEntries(Object.entries(selector).filter(([, value]) => (Array.isArray(value) ? value.length > 0 : value)));
}

/** What `former` selects and `now` does not, part by part; null where nothing is left over. */
export function removed(former: Selector, now: Selector): Selector | null {
  const all = isEverything(former) && !isEverything(now);
  const rest = <T>(had: readonly T[] | undefined, has: readonly T[] | undefined) => had?.filter((item) => !has?.includes(item)) ?? [];
  const gone: Selector = {
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
