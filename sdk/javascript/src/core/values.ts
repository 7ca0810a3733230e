/** Entity ids, values of a context and numbers of attachments, the same in every SDK. */

export type Scalar = string | number | bigint | boolean | null;

/** An entity's id as text: a whole number counts as its digits; null if missing. Raises TypeError. */
export function entityText(value: unknown): string | null {
  if (value === null || value === undefined) return null;
  if (typeof value === "string") return value;
  if (typeof value === "bigint" || Number.isSafeInteger(value)) return String(value);
  throw new TypeError(`entityID is ${shown(value)}; it must be a string or a whole number`);
}

/** The values of a context as text for constraints, without those that are null; numbers as `JSON.stringify` writes them. Raises TypeError. */
export function contextTexts(context: Readonly<Record<string, unknown>> | null | undefined): Record<string, string> | null {
  if (context === null || context === undefined) return null;
  const texts: Record<string, string> = {};
  for (const name of Object.keys(context)) {
    const value = context[name];
    if (value === null || value === undefined) continue;
    const isText = typeof value === "string" || typeof value === "boolean" || typeof value === "bigint" || (typeof value === "number" && Number.isFinite(value));
    if (!isText) throw new TypeError(`entityContext.${name} is ${shown(value)}; it must be a string, a finite number or a boolean`);
    // Not by assignment: `__proto__` is a name like any other.
    if (name === "__proto__") Object.defineProperty(texts, name, { value: String(value), enumerable: true });
    else texts[name] = String(value);
  }
  return texts;
}

function shown(value: unknown): string {
  return typeof value === "number" ? `the number ${value}` : Array.isArray(value) ? "a list" : `of type ${typeof value}`;
}

const JSON_NUMBER = /^-?(0|[1-9][0-9]*)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?$/;

/** The number of a text in JSON's grammar; null for another text, and where a double would lose digits. */
export function readNumber(text: string): number | null {
  const number = Number(text);
  const digits = decimal(text);
  return digits !== null && Number.isFinite(number) && decimal(String(number)) === digits ? number : null;
}

/** A number's significant digits and exponent, the same for every spelling; null if the text is not a number. */
function decimal(text: string): string | null {
  const match = JSON_NUMBER.exec(text);
  if (match === null) return null;
  const [, whole = "", fraction = "", exponent = "0"] = match;
  const digits = (whole + fraction).replace(/^0+/, "");
  const significant = digits.replace(/0+$/, "");
  if (significant === "") return "0";
  return `${significant}e${Number(exponent) - fraction.length + digits.length - significant.length}`;
}
