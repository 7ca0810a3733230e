// What happened just before the page was opened: the flags as they were some commits ago, and the stream from there on.
import { Catalog } from "./catalog.js";
import { BlockReader } from "./sse.js";
import { openStream } from "./stream.js";

const COMMITS = 200;
const PATIENCE_MS = 10_000;

/** The events of the last commits up to a position, oldest first, each with what it did: `[event, change]`.
 *
 *  `oldest` is where the log begins, null where that is not known. Raises why the past cannot be looked up. */
export async function readPast(api, address, credential, schemas, position, oldest) {
  const signal = AbortSignal.timeout(PATIENCE_MS);
  const catalog = new Catalog();
  const past = [];
  const from = Math.max(Number(oldest ?? 0), Number(position) - COMMITS);
  if (from >= Number(position)) return past;
  const begin = await flagsAt(api, schemas, from);
  catalog.load(begin.flags, begin.position);
  const abort = new AbortController();
  const pieces = await openStream(address, credential, begin.position, AbortSignal.any([signal, abort.signal]));
  const blocks = new BlockReader();
  try {
    for (;;) {
      const { done, value } = await pieces.read();
      if (done) return past;
      for (const block of blocks.feed(value)) {
        // A keep-alive stands at the end of the replay; a resync says that there is none.
        if (block.event === "resync" || block.comments.some((comment) => comment.startsWith("keep-alive"))) return past;
        if (block.data === null) continue;
        const event = JSON.parse(block.data);
        if (typeof event.type !== "string") continue;
        if (Number.parseInt(event.id, 10) > Number(position)) return past;
        const change = catalog.apply(event, 0, "");
        if (change !== null) past.push([event, change]);
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
