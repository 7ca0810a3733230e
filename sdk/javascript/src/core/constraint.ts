/** One constraint of a segment, as a function of a property's value. */
import { parseDouble } from "./number.js";
import { InvalidPattern, Pattern, UndecidedMatch } from "./pattern.js";

export type Test = (value: string) => boolean;

const NEVER: Test = () => false;

// Whitespace as Kotlin defines it: with no-break spaces, without U+0085 and U+FEFF, which JavaScript's trim includes.
const BLANKS = "[\\t-\\r\\u001c-\\u0020\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]+";
const OUTER_BLANKS = new RegExp(`^${BLANKS}|${BLANKS}$`, "g");

/** Whether a text is empty or only whitespace. */
export function isBlank(text: string): boolean {
  return text.replace(OUTER_BLANKS, "") === "";
}

/** Compares without trimming, quotes or case folding; only the items of IN and NOTIN are trimmed. An unknown operator never holds. */
export function compileConstraint(operator: string, value: string): Test {
  switch (operator) {
    case "EQ": return (text) => text === value;
    case "NEQ": return (text) => text !== value;
    case "IN": case "NOTIN": {
      const pieces = new Set(value.split(",").map((piece) => piece.replace(OUTER_BLANKS, "")));
      return (text) => pieces.has(text) === (operator === "IN");
    }
    case "CONTAINS": return (text) => text.includes(value);
    case "NOTCONTAINS": return (text) => !text.includes(value);
    case "LT": return comparison(value, (a, b) => a < b);
    case "LTE": return comparison(value, (a, b) => a <= b);
    case "GT": return comparison(value, (a, b) => a > b);
    case "GTE": return comparison(value, (a, b) => a >= b);
    case "EREG": return expression(value, true);
    case "NEREG": return expression(value, false);
    default: return NEVER;
  }
}

function comparison(value: string, holds: (a: number, b: number) => boolean): Test {
  const bound = parseDouble(value);
  if (bound === null) return NEVER;
  return (text) => {
    const number = parseDouble(text);
    return number !== null && holds(number, bound);
  };
}

/** An invalid expression matches nothing, so NEREG holds; after an undecided match neither holds, so that slow input cannot open a segment. */
function expression(value: string, wanted: boolean): Test {
  let matches: Test | undefined;
  return (text) => {
    try {
      matches ??= prepared(value);
      return matches(text) === wanted;
    } catch (error) {
      if (error instanceof UndecidedMatch) return false;
      throw error;
    }
  };
}

function prepared(value: string): Test {
  try {
    const pattern = new Pattern(value);
    return (text) => pattern.matches(text);
  } catch (error) {
    if (error instanceof InvalidPattern) return NEVER;
    throw error;
  }
}
