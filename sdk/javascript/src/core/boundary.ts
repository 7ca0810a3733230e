/** Line and word boundaries in a text, as Java defines them. */
import { range, shorthand } from "./charset.js";
import type { CharSet, Tree } from "./pattern-tree.js";

export function assertion(holds: (text: readonly number[], at: number) => boolean): Tree {
  return { kind: "assertion", holds };
}

export const isTerminator: CharSet = (point) =>
  point === 10 || point === 13 || point === 0x85 || point === 0x2028 || point === 0x2029;

const point = (code: number): Tree => ({ kind: "set", has: range(code, code) });
export const LINE_BREAK: Tree = {
  kind: "choice",
  items: [{ kind: "sequence", items: [point(13), point(10)] }, { kind: "set", has: shorthand("v", false)! }],
};

const isInsideCrLf = (text: readonly number[], at: number) => at > 0 && text[at - 1] === 13 && text[at] === 10;

export function lineStart(isEnd: CharSet) {
  return (text: readonly number[], at: number) =>
    at < text.length && (at === 0 || (isEnd(text[at - 1]!) && !isInsideCrLf(text, at)));
}

export function lineEnd(isEnd: CharSet, isMultiline: boolean) {
  return (text: readonly number[], at: number) => {
    if (at === text.length) return true;
    if (!isEnd(text[at]!) || (isEnd(13) && isInsideCrLf(text, at))) return false;
    return isMultiline || at === text.length - 1 || (isEnd(13) && at === text.length - 2 && text[at] === 13 && text[at + 1] === 10);
  };
}

export function isBoundary(word: CharSet, text: readonly number[], at: number): boolean {
  const before = at > 0 && word(text[at - 1]!);
  return before !== (at < text.length && word(text[at]!));
}
