/** What one event stream, whose selection is the query of its URL, can select. */
import { selectorCount, MAX_VALUES, type SelectionLimits } from "./selection-limits.js";

/** The server's limit is 64 KiB, with the parameters that are not the selection. */
const MAX_QUERY_BYTES = 60_000;

export const QUERY_LIMITS: SelectionLimits = {
  weigh(selection) {
    const { flags = [], flagIDs = [], tags = [], tables = [], types = [], schemas = [] } = selection;
    const texts = [...flags, ...tags, ...tables, ...types, ...schemas];
    return [selectorCount(selection) + types.length + schemas.length, texts.reduce((sum, text) => sum + encodedBytes(text) + 8, 18 * flagIDs.length)];
  },
  refusal: ([selectors = 0, bytes = 0]) => selectors > MAX_VALUES
    ? `this client would select ${selectors} flags, ids, tags and tables, but the limit of one event stream is ${MAX_VALUES}; select everything, or use FlagentWebSocketClient`
    : bytes > MAX_QUERY_BYTES
      ? `the selection would be a query of ${bytes} bytes, but the limit is ${MAX_QUERY_BYTES}; select everything, or use FlagentWebSocketClient` : null,
  isDivided: () => false,
};

function encodedBytes(text: string): number {
  return /^[\w.~-]*$/.test(text) ? text.length : new URLSearchParams([["", text]]).toString().length - 1;
}
