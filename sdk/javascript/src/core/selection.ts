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

export const LISTS = ["flags", "flagIDs", "tags", "tables"] as const;

/** Whether a flag in a snapshot belongs to the selection. */
export function selectsFlag(selection: Selection, flag: Flag): boolean {
  if (selection.schemas?.length && flag.schema !== undefined && !selection.schemas.includes(flag.schema)) return false;
  return isEverything(selection) || names(selection, flag.key, flag.id, tagsOf(flag));
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
  return names(selection, event.flagKey, event.flagID, [...(event.flag === null ? [] : tagsOf(event.flag)), ...(formerTags ?? [])]);
}

function names({ flags, flagIDs, tags }: Selection, key: string | null, id: number | null, tagsOfFlag: readonly string[]): boolean {
  return Boolean(flags?.includes(key!) || flagIDs?.includes(id!) || tagsOfFlag.some((tag) => tags?.includes(tag)));
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

/** Without what selects nothing. */
export function prune(selection: Selection): Selection {
  return Object.fromEntries(Object.entries(selection).filter(([, value]) => (Array.isArray(value) ? value.length > 0 : value)));
}
