// Events from before the page was opened: the flags some commits ago, and the stream from there on.
import { Catalog } from "./catalog.js";
import { BlockReader } from "./sse.js";
import { openStream, parse } from "./stream.js";

const COMMITS = 200;
const TIMEOUT_MS = 10_000;

/** The events of the last commits up to a position, oldest first, each with its change: `[event, change]`.
 *
 *  `oldest` is the oldest position of the change log, null if unknown. Throws if the history cannot be read. */
export async function readPast(api, address, credential, schemas, position, oldest) {
  const catalog = new Catalog();
  // If unknown, assume that the log still begins with its first position.
  const from = Math.max(Number(oldest ?? 1), Number(position) - COMMITS);
  if (from >= Number(position)) return [];
  const begin = await flagsAt(api, schemas, from);
  catalog.load(begin.flags, begin.position);
  const events = await replay(address, credential, begin.position, position);
  return events.map((event) => [event, catalog.apply(event, 0, "")]).filter(([, change]) => change !== null);
}

/** The events of a stream after an id and up to a position, oldest first; none if the log begins later. */
export async function replay(address, credential, id, position) {
  const abort = new AbortController();
  const pieces = await openStream(address, credential, id, AbortSignal.any([AbortSignal.timeout(TIMEOUT_MS), abort.signal]));
  const blocks = new BlockReader();
  const events = [];
  try {
    for (;;) {
      const { done, value } = await pieces.read();
      if (done) return events;
      for (const block of blocks.feed(value)) {
        // A keep-alive marks the end of the replay; with a resync there is none.
        if (block.event === "resync" || block.comments.some((comment) => comment.startsWith("keep-alive"))) return events;
        if (block.data === null) continue;
        const event = parse(block);
        if (typeof event.type !== "string") continue;
        if (Number.parseInt(event.id, 10) > Number(position)) return events;
        events.push(event);
      }
    }
  } finally {
    abort.abort();
  }
}

/** The flags of each schema at a position; the first response determines the exact commit. */
async function flagsAt(api, schemas, position) {
  const flags = [];
  let at = String(position);
  for (const schema of schemas) {
    const query = new URLSearchParams({ at, preload: "true" });
    if (schema) query.set("schema", schema);
    const answer = await api.ask(`api/v1/flags?${query}`);
    at = answer.position;
    flags.push(...answer.document.map((flag) => (schema ? { ...flag, schema } : flag)));
  }
  return { flags, position: at };
}
