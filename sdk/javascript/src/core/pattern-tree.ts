/** A regular expression as a tree; `pattern-parser` builds it, `pattern` compiles it. */

/** Whether a code point belongs to a set of characters. */
export type CharSet = (point: number) => boolean;

export type Tree =
  | { readonly kind: "empty" }
  | { readonly kind: "set"; readonly has: CharSet }
  | { readonly kind: "sequence"; readonly items: readonly Tree[] }
  | { readonly kind: "choice"; readonly items: readonly Tree[] }
  | { readonly kind: "repeat"; readonly item: Tree; readonly min: number; readonly max: number; readonly mode: Mode }
  | { readonly kind: "group"; readonly index: number; readonly item: Tree }
  | { readonly kind: "atomic"; readonly item: Tree }
  | { readonly kind: "look"; readonly item: Tree; readonly isBehind: boolean; readonly isNegative: boolean }
  | { readonly kind: "reference"; readonly index: number; readonly fold: (point: number) => number }
  | { readonly kind: "assertion"; readonly holds: (text: readonly number[], at: number) => boolean };

export type Mode = "greedy" | "lazy" | "possessive";

/** Java rejects the pattern. */
export class InvalidPattern extends Error {
  override readonly name = "InvalidPattern";
}

/** The shortest and longest text, in code points, that a tree can match. */
export function lengths(tree: Tree): [number, number] {
  switch (tree.kind) {
    case "empty": case "look": case "assertion": return [0, 0];
    case "set": return [1, 1];
    case "reference": return [0, Infinity];
    case "group": case "atomic": return lengths(tree.item);
    case "repeat": {
      const [min, max] = lengths(tree.item);
      return [min * tree.min, max === 0 ? 0 : max * tree.max];
    }
    case "sequence":
      return tree.items.map(lengths).reduce(([a, b], [c, d]) => [a + c, b + d], [0, 0]);
    case "choice":
      return tree.items.map(lengths).reduce(([a, b], [c, d]) => [Math.min(a, c), Math.max(b, d)], [Infinity, 0]);
  }
}
