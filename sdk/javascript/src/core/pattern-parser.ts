/**
 * Parses Java's regular expressions (java.util.regex.Pattern, including its oddities) into a tree.
 *
 * Not supported, and rejected as invalid: `\X`, `\b{g}`, `\N{name}`, Unicode blocks (`\p{InGreek}`) and `\p{java…}`.
 */
import { assertion, isBoundary, isTerminator, LINE_BREAK, lineEnd, lineStart } from "./boundary.js";
import { both, either, folding, ignoringCase, not, property, range, shorthand, WORD } from "./charset.js";
import { InvalidPattern, type CharSet, type Mode, type Tree } from "./pattern-tree.js";

interface Flags {
  i: boolean; d: boolean; m: boolean; s: boolean; u: boolean; x: boolean; U: boolean;
}

const NO_FLAGS: Flags = { i: false, d: false, m: false, s: false, u: false, x: false, U: false };
const EMPTY: Tree = { kind: "empty" };
const CONTROLS: Record<string, number> = { t: 9, n: 10, r: 13, f: 12, a: 7, e: 27 };
const MAX_DEPTH = 250;

export function parsePattern(text: string): { tree: Tree; groups: number } {
  return new Parser(text).parse();
}

/** Java resolves quotations first: `\Q…\E` becomes its characters, each escaped. */
function unquoted(text: string): string {
  return text.replace(/\\Q([^]*?)(?:\\E|$)|\\[^]/g, (whole, quoted: string | undefined) =>
    quoted === undefined ? whole : quoted.replace(/[^A-Za-z0-9\u0080-\uffff]/g, "\\$&"));
}

class Parser {
  readonly #text: string[];
  #at = 0;
  #depth = 0;
  #groups = 0;
  readonly #names = new Map<string, number>();
  #flags = { ...NO_FLAGS };

  constructor(text: string) {
    this.#text = Array.from(unquoted(text));
  }

  parse(): { tree: Tree; groups: number } {
    const tree = this.#choice();
    if (this.#at < this.#text.length) this.#fail("unmatched closing )");
    return { tree, groups: this.#groups };
  }

  #choice(): Tree {
    if (++this.#depth > MAX_DEPTH) this.#fail("nested too deeply");
    const items = [this.#sequence()];
    while (this.#peek() === "|") {
      this.#at++;
      items.push(this.#sequence());
    }
    this.#depth--;
    return items.length === 1 ? items[0]! : { kind: "choice", items };
  }

  #sequence(): Tree {
    const items: Tree[] = [];
    for (;;) {
      const char = this.#peek();
      if (char === undefined || char === "|" || char === ")") break;
      if (char === "*" || char === "+" || char === "?") this.#fail(`dangling ${char}`);
      // Java accepts a brace at the start as the repetition of an empty item.
      const item = char === "{" ? EMPTY : char === "(" ? this.#group() : this.#atom(char);
      if (item !== null) items.push(this.#repeated(item));
    }
    return items.length === 1 ? items[0]! : { kind: "sequence", items };
  }

  #repeated(item: Tree): Tree {
    const char = this.#peek();
    let bounds: [number, number];
    if (char === "*") bounds = [0, Infinity];
    else if (char === "+") bounds = [1, Infinity];
    else if (char === "?") bounds = [0, 1];
    else if (char === "{") {
      const match = /^\{([0-9]{1,9})(,([0-9]{0,9}))?\}/.exec(this.#text.slice(this.#at, this.#at + 24).join(""));
      if (match === null) this.#fail("illegal repetition");
      const min = Number(match![1]);
      bounds = [min, match![2] === undefined ? min : match![3] === "" ? Infinity : Number(match![3])];
      if (bounds[1] < min) this.#fail("illegal repetition range");
      this.#at += match![0].length - 1;
    } else return item;
    this.#at++;
    let mode: Mode = "greedy";
    const suffix = this.#peek();
    if (suffix === "?" || suffix === "+") {
      mode = suffix === "?" ? "lazy" : "possessive";
      this.#at++;
    }
    return { kind: "repeat", item, min: bounds[0], max: bounds[1], mode };
  }

  /** A group; null if it only sets flags. */
  #group(): Tree | null {
    this.#at++;
    const outer = this.#flags;
    this.#flags = { ...outer };
    let wrap: (item: Tree) => Tree;
    if (this.#text[this.#at] !== "?") {
      const index = ++this.#groups;
      wrap = (item) => ({ kind: "group", index, item });
    } else {
      const head = this.#text.slice(this.#at + 1, this.#at + 3).join("");
      if (head[0] === ":") wrap = this.#skip(2, (item) => item);
      else if (head[0] === ">") wrap = this.#skip(2, (item) => ({ kind: "atomic", item }));
      else if (head[0] === "=" || head[0] === "!") wrap = this.#skip(2, look(false, head[0] === "!"));
      else if (head === "<=" || head === "<!") wrap = this.#skip(3, look(true, head === "<!"));
      else if (head[0] === "<") wrap = this.#named();
      else {
        this.#at++;
        this.#readFlags();
        if (this.#text[this.#at] === ")") {
          this.#at++;
          return null;
        }
        if (this.#text[this.#at] !== ":") this.#fail("unknown inline modifier");
        wrap = this.#skip(1, (item) => item);
      }
    }
    const item = this.#choice();
    if (this.#peek() !== ")") this.#fail("unclosed group");
    this.#at++;
    this.#flags = outer;
    return wrap(item);
  }

  #named(): (item: Tree) => Tree {
    this.#at += 2;
    const name = this.#name();
    if (this.#names.has(name)) this.#fail(`group ${name} is defined twice`);
    const index = ++this.#groups;
    this.#names.set(name, index);
    return (item) => ({ kind: "group", index, item });
  }

  #name(): string {
    const end = this.#text.indexOf(">", this.#at);
    const name = end < 0 ? "" : this.#text.slice(this.#at, end).join("");
    if (!/^[A-Za-z][A-Za-z0-9]*$/.test(name)) this.#fail("bad group name");
    this.#at = end + 1;
    return name;
  }

  #readFlags(): void {
    let value = true;
    for (; ; this.#at++) {
      const char = this.#text[this.#at];
      if (char === "-" && value) value = false;
      else if (char !== undefined && char in NO_FLAGS) this.#flags[char as keyof Flags] = value;
      else return;
      if (this.#flags.U) this.#flags.u = true;
    }
  }

  #atom(char: string): Tree {
    this.#at++;
    if (char === "[") return { kind: "set", has: this.#charClass() };
    if (char === ".") return { kind: "set", has: this.#dot() };
    if (char === "^") return assertion(this.#flags.m ? lineStart(this.#terminators()) : (_text, at) => at === 0);
    if (char === "$") return assertion(lineEnd(this.#terminators(), this.#flags.m));
    if (char !== "\\") return this.#literal(char.codePointAt(0)!);
    const letter = this.#text[this.#at];
    switch (letter) {
      case undefined: return this.#fail("the pattern ends in a backslash");
      case "b": case "B": {
        if (this.#text.slice(this.#at + 1, this.#at + 4).join("") === "{g}") this.#fail("\\b{g} is not supported");
        this.#at++;
        const word = this.#flags.U ? shorthand("w", true)! : WORD;
        return assertion((text, at) => isBoundary(word, text, at) === (letter === "b"));
      }
      case "A": case "G": this.#at++; return assertion((_text, at) => at === 0);
      case "z": this.#at++; return assertion((text, at) => at === text.length);
      case "Z": this.#at++; return assertion(lineEnd(this.#terminators(), false));
      case "R": this.#at++; return LINE_BREAK;
      case "k": {
        if (this.#text[this.#at + 1] !== "<") this.#fail("\\k is not followed by <name>");
        this.#at += 2;
        const name = this.#name();
        if (!this.#names.has(name)) this.#fail(`no group ${name} so far`);
        return this.#reference(this.#names.get(name)!);
      }
    }
    if (letter >= "1" && letter <= "9") return this.#numbered();
    const set = this.#escapedSet();
    return set === null ? this.#literal(this.#escapedPoint()) : { kind: "set", has: set };
  }

  #numbered(): Tree {
    let index = Number(this.#text[this.#at++]);
    for (;;) {
      const digit = this.#text[this.#at];
      if (digit === undefined || digit < "0" || digit > "9" || index * 10 + Number(digit) > this.#groups) return this.#reference(index);
      index = index * 10 + Number(digit);
      this.#at++;
    }
  }

  #reference(index: number): Tree {
    return { kind: "reference", index, fold: folding(this.#flags.i, this.#flags.u) };
  }

  #literal(point: number): Tree {
    const { i, u } = this.#flags;
    if (!i) return { kind: "set", has: range(point, point) };
    const fold = folding(i, u);
    const folded = fold(point);
    return { kind: "set", has: (other) => fold(other) === folded };
  }

  #cased(set: CharSet): CharSet {
    return this.#flags.i ? ignoringCase(set, this.#flags.u) : set;
  }

  #dot(): CharSet {
    if (this.#flags.s) return () => true;
    return not(this.#terminators());
  }

  #terminators(): CharSet {
    return this.#flags.d ? (point) => point === 10 : isTerminator;
  }

  /** The rest of `[…]`, after its bracket. */
  #charClass(isNested = true): CharSet {
    if (++this.#depth > MAX_DEPTH) this.#fail("nested too deeply");
    let set: CharSet | null = null;
    let isNegative = false;
    if (isNested && this.#peek() === "^") {
      isNegative = true;
      this.#at++;
    }
    for (;;) {
      const char = this.#peek();
      if (char === undefined) this.#fail("unclosed character class");
      if (char === "]" && set !== null) {
        if (isNested) this.#at++;
        break;
      }
      if (char === "&" && this.#text[this.#at + 1] === "&") {
        set = this.#intersection(set);
        continue;
      }
      let part: CharSet;
      if (char === "[") {
        this.#at++;
        part = this.#charClass();
      } else part = this.#classRange();
      set = set === null ? part : either(set, part);
    }
    this.#depth--;
    return isNegative ? not(set) : set;
  }

  #intersection(left: CharSet | null): CharSet {
    while (this.#peek() === "&" && this.#text[this.#at + 1] === "&") this.#at += 2;
    if (this.#peek() === "]") return left ?? this.#fail("bad class syntax");
    const right = this.#charClass(false);
    return left === null ? right : both(left, right);
  }

  #classRange(): CharSet {
    const first = this.#peek()!;
    this.#at++;
    let from = first.codePointAt(0)!;
    if (first === "\\") {
      const set = this.#escapedSet();
      if (set !== null) return set;
      from = this.#escapedPoint();
    }
    if (this.#peek() !== "-") return this.#cased(range(from, from));
    const mark = this.#at++;
    const next = this.#peek();
    if (next === undefined || next === "]" || next === "[") {
      this.#at = mark;
      return this.#cased(range(from, from));
    }
    this.#at++;
    const to = next === "\\" ? this.#escapedPoint() : next.codePointAt(0)!;
    if (to < from) this.#fail("illegal character range");
    return this.#cased(range(from, to));
  }

  /** The set that a letter after a backslash denotes; null if it denotes one character. */
  #escapedSet(): CharSet | null {
    const letter = this.#text[this.#at];
    if (letter === undefined) this.#fail("the pattern ends in a backslash");
    if (letter === "p" || letter === "P") {
      this.#at++;
      let name = this.#text[this.#at++] ?? "";
      if (name === "{") {
        const end = this.#text.indexOf("}", this.#at);
        if (end < 0) this.#fail("unclosed character property");
        name = this.#text.slice(this.#at, end).join("");
        this.#at = end + 1;
      }
      const set = property(name, this.#flags.i);
      return letter === "p" ? set : not(set);
    }
    const set = shorthand(letter, this.#flags.U);
    if (set !== undefined) this.#at++;
    return set ?? null;
  }

  /** The character after a backslash. */
  #escapedPoint(): number {
    const letter = this.#text[this.#at++];
    if (letter === undefined) this.#fail("the pattern ends in a backslash");
    if (Object.hasOwn(CONTROLS, letter)) return CONTROLS[letter]!;
    if (letter === "c") return (this.#text[this.#at++] ?? this.#fail("\\c without a letter")).codePointAt(0)! ^ 64;
    const rest = this.#text.slice(this.#at, this.#at + 12).join("");
    const forms: Record<string, RegExp> = {
      "0": /^(?:[0-3][0-7]{2}|[0-7]{1,2})/, x: /^(?:[0-9a-fA-F]{2}|\{[0-9a-fA-F]{1,8}\})/, u: /^[0-9a-fA-F]{4}/,
    };
    const form = Object.hasOwn(forms, letter) ? forms[letter] : undefined;
    if (form === undefined) {
      if (/^[A-Za-z]$/.test(letter)) this.#fail(`unknown escape \\${letter}`);
      return letter.codePointAt(0)!;
    }
    const digits = form.exec(rest)?.[0] ?? this.#fail(`illegal \\${letter}`);
    this.#at += digits.length;
    const point = parseInt(digits.replace(/[{}]/g, ""), letter === "0" ? 8 : 16);
    if (point > 0x10ffff) this.#fail("beyond the last code point");
    if (letter !== "u" || point < 0xd800 || point > 0xdbff) return point;
    // The two escapes of a surrogate pair are one character.
    const low = /^\\u([dD][c-fC-F][0-9a-fA-F]{2})/.exec(this.#text.slice(this.#at, this.#at + 6).join(""));
    if (low === null) return point;
    this.#at += 6;
    return 0x10000 + ((point - 0xd800) << 10) + (parseInt(low[1]!, 16) - 0xdc00);
  }

  #peek(): string | undefined {
    while (this.#flags.x && this.#at < this.#text.length) {
      const char = this.#text[this.#at]!;
      if (/^[ \t\n\v\f\r]$/.test(char)) this.#at++;
      else if (char === "#") while (this.#at < this.#text.length && !isTerminator(this.#text[this.#at]!.codePointAt(0)!)) this.#at++;
      else break;
    }
    return this.#text[this.#at];
  }

  #skip<T>(count: number, value: T): T {
    this.#at += count;
    return value;
  }

  #fail(reason: string): never {
    throw new InvalidPattern(`${reason} near index ${this.#at}`);
  }
}

function look(isBehind: boolean, isNegative: boolean): (item: Tree) => Tree {
  return (item) => ({ kind: "look", item, isBehind, isNegative });
}
