// Texts about flags and rows for people.

const OPERATORS = {
  EQ: "is",
  NEQ: "is not",
  IN: "is one of",
  NOTIN: "is none of",
  LT: "is less than",
  LTE: "is at most",
  GT: "is more than",
  GTE: "is at least",
  EREG: "matches",
  NEREG: "does not match",
  CONTAINS: "contains",
  NOTCONTAINS: "does not contain",
};

/** `isOfRows` marks the events of watched tables. */
export const TYPES = {
  flag_created: { word: "created", tone: "good" },
  flag_enabled: { word: "turned on", tone: "on" },
  flag_disabled: { word: "turned off", tone: "off" },
  flag_updated: { word: "updated", tone: "plain" },
  flag_deleted: { word: "deleted", tone: "bad" },
  segment_updated: { word: "segment", tone: "segment" },
  distribution_updated: { word: "shares", tone: "share" },
  variant_updated: { word: "variant", tone: "variant" },
  row_inserted: { word: "inserted", tone: "good", isOfRows: true },
  row_updated: { word: "updated", tone: "row", isOfRows: true },
  row_deleted: { word: "deleted", tone: "bad", isOfRows: true },
  table_truncated: { word: "emptied", tone: "bad", isOfRows: true },
  schema_changed: { word: "columns", tone: "plain", isOfRows: true },
};

/** The name and colour of an event type, also of one that this page does not know. */
export const typeOf = (type) => TYPES[type] ?? { word: String(type).replaceAll("_", " "), tone: "plain" };

/** A constraint in three parts: property, operator in words, values as a list. */
export function constraintParts({ property, operator, value }) {
  const isList = operator === "IN" || operator === "NOTIN";
  // As evaluation compares it: only the items of a list are trimmed, and quotes are part of the value.
  const values = isList ? String(value).split(",").map((each) => each.trim()) : [String(value)];
  return { property, words: OPERATORS[operator] ?? operator, values };
}

export function constraintText(constraint) {
  const { property, words, values } = constraintParts(constraint);
  return `${property} ${words} ${values.join(", ")}`;
}

export const segmentName = (segment) => segment.description || `segment ${segment.id}`;

/** The rollout of a flag, in short. */
export function rolloutText(flag) {
  const { segments } = flag;
  if (!segments.length) return "no segment";
  if (segments.length === 1) return `${segments[0].rolloutPercent} %`;
  return `${segments.length} segments`;
}

/** The label of a flag in the list, for screen readers. */
export function flagSentence(flag) {
  const parts = [flag.key, flag.enabled ? "on" : "off"];
  if (flag.tags.length) parts.push(`tags ${flag.tags.map((tag) => tag.value).join(", ")}`);
  for (const segment of flag.segments.slice(0, 3)) parts.push(`${segmentName(segment)} ${segment.rolloutPercent} percent`);
  return parts.join("; ");
}

const BYTES = ["B", "kB", "MB", "GB", "TB"];

export function bytesText(count) {
  let value = count;
  let unit = 0;
  while (value >= 1000 && unit < BYTES.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit && value < 10 ? value.toFixed(1) : Math.round(value)} ${BYTES[unit]}`;
}

/** The time between two timestamps in ms, with the microseconds that Date drops; never negative. */
export function elapsedMs(from, to) {
  return Math.max(0, microseconds(to) - microseconds(from)) / 1000;
}

/** A time as microseconds since 1970. */
export function microseconds(text) {
  const fraction = /\.(\d+)/.exec(text)?.[1] ?? "";
  return Math.floor(Date.parse(text) / 1000) * 1e6 + Number(fraction.padEnd(6, "0").slice(0, 6));
}

export function durationText(ms) {
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)} h ${Math.floor((seconds % 3_600) / 60)} min`;
  return `${Math.floor(seconds / 86_400)} d ${Math.floor((seconds % 86_400) / 3_600)} h`;
}

export function agoText(ms) {
  if (ms < 2_000) return "now";
  if (ms < 60_000) return `${Math.floor(ms / 1_000)} s ago`;
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)} min ago`;
  return `${Math.floor(ms / 3_600_000)} h ago`;
}

// Sortable and the same in every language, as the field "As of" takes it.
const two = (number) => String(number).padStart(2, "0");

/** A local time with its date: `2026-11-23 12:00:00`. */
export const dateText = (date) => `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;

/** A local time of today, to the millisecond: `12:00:00.123`. */
export const clockText = (date) => `${dateText(date).slice(11)}.${String(date.getMilliseconds()).padStart(3, "0")}`;

export const countText = (count) => count.toLocaleString("en").replaceAll(",", " ");

export const plural = (count, word) => `${countText(count)} ${word}${count === 1 ? "" : "s"}`;
