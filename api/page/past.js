// What happened just before the page was opened: the flags as they were some commits ago, and the stream from there on.
import { Catalog } from "./catalog.js";
import { BlockReader } from "./sse.js";
import { openStream, parse } from "./stream.js";

const COMMITS = 200;
const PATIENCE_MS = 10_000;

/** The events of the last commits up to a position, oldest first, each with what it did: `[event, change]`.
 *
 *  `oldest` is where the log begins, null where that is not known. Raises why the past cannot be looked up. */
export async function readPast(api, address, credential, schemas, position, oldest) {
  const catalog = new Catalog();
  // Where it is not known, a log begins with its first position.
  const from = Math.max(Number(oldest ?? 1), Number(position) - COMMITS);
  if (from >= Number(position)) return [];
  const begin = await flagsAt(api, schemas, from);
  catalog.load(begin.flags, begin.position);
  const events = await replay(address, credential, begin.position, position);
  return events.map((event) => [event, catalog.apply(event, 0, "")]).filter(([, change]) => change !== null);
}

/** The events of a stream after an id and up to a position, oldest first; none where the log begins later. */
export async function replay(address, credential, id, position) {
  const abort = new AbortController();
  const pieces = await openStream(address, credential, id, AbortSignal.any([AbortSignal.timeout(PATIENCE_MS), abort.signal]));
  const blocks = new BlockReader();
  const events = [];
  try {
    for (;;) {
      const { done, value } = await pieces.read();
      if (done) return events;
      for (const block of blocks.feed(value)) {
        // A keep-alive stands at the end of the replay; a resync says that there is none.
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

/** All flags as of a position, of each schema; the first answer says which commit that is. */
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
