// The differences between two states of a flag or a row, field by field, as texts: `{name, before, after}`, null where
// the field does not exist.
import { constraintText, segmentName } from "./words.js";

const COLUMNS = {
  key: "key",
  enabled: "enabled",
  description: "description",
  notes: "notes",
  entityType: "entity type",
  dependsOn: "depends on",
  dataRecordsEnabled: "records data",
  environmentId: "environment",
  projectId: "project",
};

/** The differences between two states of a flag; null is a flag that does not exist. */
export function difference(before, after) {
  return compare(fieldsOf(before), fieldsOf(after));
}

function compare(before, after) {
  const fields = [];
  for (const name of new Set([...before.keys(), ...after.keys()])) {
    const was = before.get(name) ?? null;
    const is = after.get(name) ?? null;
    if (was?.text !== is?.text) fields.push({ name: (is ?? was).name, before: was?.text ?? null, after: is?.text ?? null });
  }
  return fields;
}

/** Every field of a flag by a stable identity, with its name and its text. */
function fieldsOf(flag) {
  const fields = new Map();
  if (flag === null) return fields;
  const put = (identity, name, text) => fields.set(identity, { name, text });
  for (const [column, name] of Object.entries(COLUMNS)) {
    const text = textOf(column, flag[column]);
    if (text !== null) put(column, name, text);
  }
  for (const tag of flag.tags) put(`tag ${tag.value}`, "tag", tag.value);
  for (const variant of flag.variants) {
    put(`variant ${variant.id}`, "variant", variant.key);
    for (const [name, value] of Object.entries(variant.attachment ?? {})) {
      put(`variant ${variant.id} ${name}`, `${variant.key} · ${name}`, String(value));
    }
  }
  const variants = new Map(flag.variants.map((variant) => [variant.id, variant.key]));
  for (const segment of flag.segments) {
    const at = `segment ${segment.id}`;
    const of = segmentName(segment);
    put(at, "segment", of);
    put(`${at} rank`, `${of} · rank`, String(segment.rank));
    put(`${at} rollout`, `${of} · rollout`, `${segment.rolloutPercent} %`);
    for (const constraint of segment.constraints) {
      put(`${at} constraint ${constraint.id}`, `${of} · constraint`, constraintText(constraint));
    }
    // By variant: Flagent replaces all rows of a distribution, and a share is the same share under a new id.
    for (const share of segment.distributions) {
      const key = variants.get(share.variantID) ?? share.variantKey ?? `variant ${share.variantID}`;
      put(`${at} share ${share.variantID}`, `${of} · ${key}`, `${share.percent} %`);
    }
  }
  return fields;
}

function textOf(column, value) {
  if (value === null || value === undefined || value === "") return null;
  if (column === "enabled") return value ? "on" : "off";
  if (column === "dataRecordsEnabled") return value ? "yes" : null;
  if (Array.isArray(value)) return value.length ? value.join(", ") : null;
  return String(value);
}

/** The differences in an event about a row: the changed columns, or all columns but the key of an inserted or deleted
 *  row. `masked` names the columns whose values are always null in events. */
export function rowDifference({ key, before, after, changed }, masked) {
  const isWhole = before === null || after === null;
  const names = isWhole ? Object.keys(before ?? after ?? {}).filter((name) => !Object.hasOwn(key ?? {}, name)) : changed;
  return names.map((name) => {
    const isMasked = masked.includes(name);
    const text = (row) => (row === null || !Object.hasOwn(row, name) ? null : isMasked ? "masked" : valueText(row[name]));
    return { name, before: text(before), after: text(after), isMasked };
  });
}

/** The columns that a change of a table's columns names, with their types before and after. */
export function columnDifference({ before, after }) {
  const [was, is] = [before, after].map((columns) => new Map(columns.map(({ name, type }) => [name, type])));
  return [...new Set([...was.keys(), ...is.keys()])]
    .filter((name) => was.get(name) !== is.get(name))
    .map((name) => ({ name, before: was.get(name) ?? null, after: is.get(name) ?? null, isMasked: false }));
}

/** A value as JSON; a text without quotes if it cannot be mistaken for another type. */
export function valueText(value) {
  return typeof value === "string" && value !== "" && !isJson(value) ? value : JSON.stringify(value);
}

function isJson(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
