/** A selection as messages of the WebSocket: whole, in parts, and the difference of two. */
import { covers, isEverything, LISTS, prune, union, type Selection } from "./selection.js";
import { MAX_VALUES, selectorCount, type SelectionLimits } from "./selection-limits.js";

/** Half of the server's limit of one message: the other fields need some of it. */
const MAX_PART_BYTES = 64 * 1024;
/** Tables, types and schemas are part of the first message, whatever else is in it. */
const MAX_TABLES = 900;
/** The server's limit is 10 000. A selection that is sent in parts takes one more for a moment. */
const MAX_SELECTORS = 9999;

/** What one WebSocket can select. */
export const MESSAGE_LIMITS: SelectionLimits = {
  weigh(selection) {
    const { tables = [] } = selection;
    return [selectorCount(selection), tables.length, tables.reduce((sum, text) => sum + jsonBytes(text), 0)];
  },
  refusal: ([selectors = 0, tables = 0, tableBytes = 0]) => selectors > MAX_SELECTORS
    ? `this client would select ${selectors} flags, ids, tags and tables, but the limit of one connection is ${MAX_SELECTORS}; select everything, or use another client for some`
    : tables > MAX_TABLES || tableBytes > MAX_PART_BYTES
      ? `this client would select ${tables} tables, with ${tableBytes} bytes of names, but the limit of one connection is ${MAX_TABLES} tables and `
        + `${MAX_PART_BYTES} bytes; use another client for some` : null,
  isDivided: (selection) => parts(selection).length > 1,
};

/** The selections of the WebSocket's `subscribe` and `unsubscribe`. */
export function toSubscribe(selection: Selection): Record<string, unknown> {
  const { all, ...rest } = prune(selection);
  return isEverything(selection) || all ? { ...rest, subscribeAll: true } : rest;
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

/** The messages that bring a connection from `selected` to `selection`, and what is selected then. */
export function changeMessages(selected: Selection, selection: Selection): { messages: Record<string, unknown>[]; selected: Selection } {
  const messages: Record<string, unknown>[] = [];
  let now = selected;
  if (!covers(selected, selection)) {
    messages.push(...subscribeMessages(added(selection, selected)));
    now = union([selected, selection])!;
  }
  const gone = minus(now, selection);
  if (gone === null) return { messages, selected: now };
  if (gone.all) messages.push(...subscribeMessages(selection));
  messages.push(...parts(gone).map((part) => ({ type: "unsubscribe", ...toSubscribe(part) })));
  return { messages, selected: selection };
}

/** What `selection` selects and `selected` does not: only that where both are narrowed alike, otherwise all of it. */
function added(selection: Selection, selected: Selection): Selection {
  const narrowing = ({ types = [], schemas = [] }: Selection) => JSON.stringify([types, schemas]);
  const { types, schemas } = selection;
  const more = narrowing(selection) === narrowing(selected) ? minus(selection, selected) : null;
  return more === null ? selection : { ...more, ...(types && { types }), ...(schemas && { schemas }) };
}

const ENCODER = new TextEncoder();

function jsonBytes(value: string | number): number {
  const json = JSON.stringify(value);
  return (/^[ -~]*$/.test(json) ? json.length : ENCODER.encode(json).length) + 1;
}
