// What is different between two states of a flag or a row, field by field, as texts: `{name, before, after}`, null where
// the field was not there, or is no more.
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

/** Either state may be null: the flag did not exist, or does not any more. */
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

/** Every field of a flag by an identity that lasts, with its name and its text. */
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

/** Of an event about a row of a watched table: the columns that changed, or all of a row that came or went. What the key
 *  says is not said again. `masked` names the columns that are told as null, whatever they hold. */
export function rowDifference({ key, before, after, changed }, masked) {
  const isWhole = before === null || after === null;
  const names = isWhole ? Object.keys(before ?? after ?? {}).filter((name) => !Object.hasOwn(key ?? {}, name)) : changed;
  return names.map((name) => {
    const isMasked = masked.includes(name);
    const text = (row) => (row === null || !Object.hasOwn(row, name) ? null : isMasked ? "masked" : valueText(row[name]));
    return { name, before: text(before), after: text(after), isMasked };
  });
}

/** A value as JSON, but a text without its quotes where nobody could take it for something else. */
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
