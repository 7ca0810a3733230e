/** What one event stream, whose selection is the query of its URL, can select. */
import { toQuery } from "./selection.js";
import { MAX_VALUES, type SelectionLimits } from "./selection-limits.js";

/** The server's limit is 64 KiB, with the parameters that are not the selection. */
const MAX_QUERY_BYTES = 60_000;

export const QUERY_LIMITS: SelectionLimits = {
  weigh(selection) {
    const query = toQuery(selection);
    return [[...query].length, query.toString().length + 1];
  },
  refusal: ([values = 0, bytes = 0]) => values > MAX_VALUES || bytes > MAX_QUERY_BYTES
    ? `this client would select ${values} flags, ids, tags and tables, with a query of ${bytes} bytes, but the limit of one event stream is ${MAX_VALUES}, and `
      + `${MAX_QUERY_BYTES} bytes; select everything, or use FlagentWebSocketClient` : null,
  isDivided: () => false,
};
