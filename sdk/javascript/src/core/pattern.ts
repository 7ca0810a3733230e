/**
 * Matches a whole value against a Java regular expression, by backtracking with a limit on the steps.
 *
 * JavaScript's own engine differs in letter case, line ends, anchors, possessive quantifiers, class algebra and references
 * to groups that did not participate. It also cannot be stopped, and an expression is user input.
 */
import { parsePattern } from "./pattern-parser.js";
import { InvalidPattern, lengths, type Tree } from "./pattern-tree.js";

export { InvalidPattern };

/** The match exceeds the limit of steps or of the stack; its result is unknown. */
export class UndecidedMatch extends Error {
  override readonly name = "UndecidedMatch";
}

/** About 20 ms on an ordinary machine. */
const MAX_STEPS = 1_000_000;

type Go = (at: number) => boolean;
type Walk = (run: Run, at: number, go: Go) => boolean;

interface Run {
  readonly text: readonly number[];
  /** Start and end of each group, -1 if it did not participate. */
  groups: number[];
  steps: number;
}

export class Pattern {
  readonly #walk: Walk;
  readonly #groups: number;

  /** Raises `InvalidPattern` if Java rejects the pattern. */
  constructor(source: string) {
    const { tree, groups } = parsePattern(source);
    this.#walk = compile(tree);
    this.#groups = groups;
  }

  /** Whether the whole of `text` matches; raises `UndecidedMatch`. */
  matches(text: string): boolean {
    const points = Array.from(text, (char) => char.codePointAt(0)!);
    const run: Run = { text: points, groups: new Array<number>(2 * this.#groups + 2).fill(-1), steps: MAX_STEPS };
    try {
      return this.#walk(run, 0, (at) => at === points.length);
    } catch (error) {
      if (error instanceof RangeError) throw new UndecidedMatch("the match exceeds the stack", { cause: error });
      throw error;
    }
  }
}

function step(run: Run): void {
  if (--run.steps < 0) throw new UndecidedMatch(`the match exceeds ${MAX_STEPS} steps`);
}

function compile(tree: Tree): Walk {
  switch (tree.kind) {
    case "empty":
      return (_run, at, go) => go(at);
    case "set": {
      const { has } = tree;
      return (run, at, go) => {
        step(run);
        return at < run.text.length && has(run.text[at]!) && go(at + 1);
      };
    }
    case "assertion":
      return (run, at, go) => tree.holds(run.text, at) && go(at);
    case "sequence":
      return tree.items.map(compile).reduceRight<Walk>(
        (rest, item) => (run, at, go) => item(run, at, (next) => rest(run, next, go)), (_run, at, go) => go(at));
    case "choice": {
      const items = tree.items.map(compile);
      return (run, at, go) => {
        step(run);
        return items.some((item) => item(run, at, go));
      };
    }
    case "group": {
      const item = compile(tree.item);
      const slot = 2 * tree.index;
      return (run, at, go) => item(run, at, (end) => {
        const [start, former] = [run.groups[slot]!, run.groups[slot + 1]!];
        run.groups[slot] = at;
        run.groups[slot + 1] = end;
        if (go(end)) return true;
        run.groups[slot] = start;
        run.groups[slot + 1] = former;
        return false;
      });
    }
    case "atomic":
      return atomic(compile(tree.item));
    case "look":
      return look(tree);
    case "reference": {
      const slot = 2 * tree.index;
      return (run, at, go) => {
        const start = run.groups[slot] ?? -1;
        if (start < 0) return false;
        const length = run.groups[slot + 1]! - start;
        if (at + length > run.text.length) return false;
        for (let n = 0; n < length; n++) {
          step(run);
          if (tree.fold(run.text[start + n]!) !== tree.fold(run.text[at + n]!)) return false;
        }
        return go(at + length);
      };
    }
    case "repeat":
      return tree.mode === "possessive"
        ? atomic(repeat({ ...tree, mode: "greedy" }))
        : repeat(tree);
  }
}

/** Only the first way in which `item` matches is tried. */
function atomic(item: Walk): Walk {
  return (run, at, go) => {
    const groups = [...run.groups];
    let end = -1;
    if (item(run, at, (next) => ((end = next), true)) && go(end)) return true;
    run.groups = groups;
    return false;
  };
}

function look(tree: Tree & { kind: "look" }): Walk {
  const item = compile(tree.item);
  const [min, max] = lengths(tree.item);
  const found = (run: Run, at: number): boolean => {
    if (!tree.isBehind) return item(run, at, () => true);
    for (let start = at - min; start >= Math.max(0, at - max); start--) {
      step(run);
      if (item(run, start, (end) => end === at)) return true;
    }
    return false;
  };
  return (run, at, go) => {
    const groups = [...run.groups];
    if (found(run, at) !== tree.isNegative && go(at)) return true;
    run.groups = groups;
    return false;
  };
}

function repeat(tree: Tree & { kind: "repeat" }): Walk {
  const { item, min, max, mode } = tree;
  if (item.kind === "set") return mode === "greedy" ? greedySet(item.has, min, max) : lazySet(item.has, min, max);
  const body = compile(item);
  const turn = (run: Run, at: number, count: number, go: Go): boolean => {
    step(run);
    // An empty iteration ends the loop, as in Java.
    const again = () => count < max && body(run, at, (next) => (next === at ? go(next) : turn(run, next, count + 1, go)));
    if (count < min) return again();
    return mode === "greedy" ? again() || go(at) : go(at) || again();
  };
  return (run, at, go) => turn(run, at, 0, go);
}

/** A repeated single character, the common case, needs no stack per iteration. */
function greedySet(has: (point: number) => boolean, min: number, max: number): Walk {
  return (run, at, go) => {
    const most = Math.min(run.text.length, at + max);
    let end = at;
    while (end < most && has(run.text[end]!)) {
      step(run);
      end++;
    }
    for (; end >= at + min; end--) {
      step(run);
      if (go(end)) return true;
    }
    return false;
  };
}

function lazySet(has: (point: number) => boolean, min: number, max: number): Walk {
  return (run, at, go) => {
    const most = Math.min(run.text.length, at + max);
    for (let end = at; ; end++) {
      step(run);
      if (end >= at + min && go(end)) return true;
      if (end >= most || !has(run.text[end]!)) return false;
    }
  };
}
