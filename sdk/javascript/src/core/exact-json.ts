/** JSON without losing digits: what a double cannot hold becomes text, or a bigint. */

/** What becomes of whole numbers beyond 2^53: text (the default), or a bigint. Other numbers with too many digits become text. */
export type LongIntegers = "text" | "bigint";

// Most messages have no long number: only what may have one is searched.
const MAY_BE_LONG = /[:,[]\s*-?(?:[0-9.]{16}|[0-9.]+e)/i;
const TOKENS = /"(?:[^"\\]|\\.)*"|-?[0-9][0-9.]*(?:e[+-]?[0-9]+)?/gi;
/** Marks the text of a number; nobody else can write it. Made late: some edge runtimes forbid random values while a module is loaded. */
let mark = "";

/** `JSON.parse`, exactly. Raises SyntaxError. */
export function parseExactly(text: string, integers: LongIntegers = "text"): unknown {
  if (!MAY_BE_LONG.test(text)) return JSON.parse(text);
  const isBig = integers === "bigint";
  mark ||= `\0${Math.random()}:`;
  const quoted = text.replace(TOKENS, (token) => (token[0] === '"' || isExact(token) ? token : JSON.stringify(isBig && isWhole(token) ? mark + token : token)));
  return JSON.parse(quoted, isBig ? (_, value) => (typeof value === "string" && value.startsWith(mark) ? BigInt(value.slice(mark.length)) : value) : undefined);
}

const isWhole = (token: string) => /^-?[0-9]+$/.test(token);

/** Whether a double holds the number; a fraction of more than 15 digits never counts as held. */
function isExact(token: string): boolean {
  const number = Number(token);
  if (isWhole(token)) return Number.isSafeInteger(number);
  const digits = token.replace(/e.*/i, "").replace(/[^0-9]/g, "").replace(/^0+/, "");
  return Number.isFinite(number) && digits.length <= 15 && (number !== 0 || digits === "");
}
