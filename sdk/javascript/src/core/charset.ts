/** The character sets of Java's regular expressions: ASCII by default, Unicode if named. */
import { InvalidPattern, type CharSet } from "./pattern-tree.js";

export const not = (set: CharSet): CharSet => (point) => !set(point);
export const either = (a: CharSet, b: CharSet): CharSet => (point) => a(point) || b(point);
export const both = (a: CharSet, b: CharSet): CharSet => (point) => a(point) && b(point);
export const range = (from: number, to: number): CharSet => (point) => point >= from && point <= to;
export const anyOf = (text: string): CharSet => {
  const points = new Set(Array.from(text, (char) => char.codePointAt(0)!));
  return (point) => points.has(point);
};

const LOWER = range(0x61, 0x7a);
const UPPER = range(0x41, 0x5a);
const DIGIT = range(0x30, 0x39);
const ALPHA = either(LOWER, UPPER);
const ALNUM = either(ALPHA, DIGIT);
const GRAPH = range(0x21, 0x7e);
export const WORD = either(ALNUM, anyOf("_"));
const SPACE = either(range(9, 13), anyOf(" "));
const HORIZONTAL = anyOf(" \t\u00a0\u1680\u180e\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000");
const VERTICAL = anyOf("\n\v\f\r\u0085\u2028\u2029");

const POSIX: Record<string, CharSet> = {
  Lower: LOWER, Upper: UPPER, Alpha: ALPHA, Digit: DIGIT, Alnum: ALNUM, Graph: GRAPH,
  ASCII: range(0, 0x7f), Punct: both(GRAPH, not(ALNUM)), Print: range(0x20, 0x7e), Blank: anyOf(" \t"),
  Cntrl: either(range(0, 0x1f), range(0x7f, 0x7f)), XDigit: either(DIGIT, either(range(0x41, 0x46), range(0x61, 0x66))),
  Space: SPACE,
};

const EVERY: CharSet = () => true;

/** The class of a backslash and one letter; undefined for any other letter. */
export function shorthand(letter: string, isUnicode: boolean): CharSet | undefined {
  const small = letter.toLowerCase();
  const set = isUnicode ? UNICODE_SHORTHANDS[small]?.() ?? PLAIN_SHORTHANDS[small] : PLAIN_SHORTHANDS[small];
  return set === undefined || letter === small ? set : not(set);
}

const PLAIN_SHORTHANDS: Record<string, CharSet> = { d: DIGIT, w: WORD, s: SPACE, h: HORIZONTAL, v: VERTICAL };
const UNICODE_SHORTHANDS: Record<string, () => CharSet> = {
  d: () => unicode("Nd"),
  s: () => unicode("White_Space"),
  w: () => ["Alphabetic", "M", "Nd", "Pc", "Join_Control"].map(unicode).reduce(either),
};

/** `\p{name}`. Blocks and `java…` properties are not supported and count as invalid. */
export function property(name: string, ignoresCase: boolean): CharSet {
  if (Object.hasOwn(POSIX, name)) {
    return ignoresCase && (name === "Lower" || name === "Upper") ? ALPHA : POSIX[name]!;
  }
  if (name === "L1") return range(0, 0xff);
  if (name === "all") return EVERY;
  if (name === "LD") return either(unicode("L"), unicode("Nd"));
  if (name === "LC") return either(unicode("Lu"), either(unicode("Ll"), unicode("Lt")));
  if (ignoresCase && /^(Is)?(Lu|Ll|Lt)$/.test(name)) return property("LC", false);
  const pair = /^(script|sc|general_category|gc)=(\w+)$/i.exec(name);
  if (pair !== null) {
    return pair[1]!.toLowerCase().startsWith("s") ? unicode(`Script=${capital(pair[2]!)}`) : unicode(pair[2]!);
  }
  if (!name.startsWith("Is")) return unicode(name);
  const rest = name.slice(2);
  const binary = BINARY[rest.toLowerCase()];
  if (binary !== undefined) return unicode(binary);
  return /^[A-Z][a-z]?$/.test(rest) ? unicode(rest) : unicode(`Script=${capital(rest)}`);
}

const BINARY: Record<string, string> = {
  alphabetic: "Alphabetic", ideographic: "Ideographic", lowercase: "Lowercase", uppercase: "Uppercase", letter: "L",
  white_space: "White_Space", whitespace: "White_Space", digit: "Nd", punctuation: "P", control: "Cc",
  hex_digit: "Hex_Digit", join_control: "Join_Control", emoji: "Emoji", noncharacter_code_point: "Noncharacter_Code_Point",
};

function capital(name: string): string {
  return name.toLowerCase().replace(/(^|_)([a-z])/g, (letters) => letters.toUpperCase());
}

function unicode(name: string): CharSet {
  let expression: RegExp;
  try {
    expression = new RegExp(`^\\p{${name}}$`, "u");
  } catch (cause) {
    throw new InvalidPattern(`unknown character property ${name}`, { cause });
  }
  return (point) => expression.test(String.fromCodePoint(point));
}

/** A set that also takes the other case of its characters: ASCII letters only, or all of Unicode. */
export function ignoringCase(set: CharSet, isUnicode: boolean): CharSet {
  if (isUnicode) {
    return (point) => {
      if (set(point)) return true;
      const upper = single(String.fromCodePoint(point).toUpperCase(), point);
      return set(upper) || set(single(String.fromCodePoint(upper).toLowerCase(), upper));
    };
  }
  return (point) => set(point) || (ALPHA(point) && set(point ^ 0x20));
}

/** Maps the letter cases of a character to one of them. */
export function folding(ignoresCase: boolean, isUnicode: boolean): (point: number) => number {
  if (!ignoresCase) return (point) => point;
  if (!isUnicode) return (point) => (UPPER(point) ? point | 0x20 : point);
  return (point) => {
    const upper = single(String.fromCodePoint(point).toUpperCase(), point);
    return single(String.fromCodePoint(upper).toLowerCase(), upper);
  };
}

function single(text: string, otherwise: number): number {
  const point = text.codePointAt(0)!;
  return text.length === (point > 0xffff ? 2 : 1) ? point : otherwise;
}
