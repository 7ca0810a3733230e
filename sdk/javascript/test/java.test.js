// Patterns and numbers compared with Java 17; a Java program recorded the expected results.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { compileConstraint } from "../dist/core/constraint.js";
import { bucketOf } from "../dist/core/evaluation.js";
import { parseDouble } from "../dist/core/number.js";
import { InvalidPattern, Pattern, UndecidedMatch } from "../dist/core/pattern.js";

const read = (name) => JSON.parse(readFileSync(new URL(name, import.meta.url), "utf8"));

test("patterns match the same values as in Java", () => {
  const { values, cases } = read("java_patterns.json");
  for (const { pattern, matches } of cases) {
    if (matches === null) assert.throws(() => new Pattern(pattern), InvalidPattern, pattern);
    else assert.deepEqual(values.filter((value) => new Pattern(pattern).matches(value)), matches, pattern);
  }
});

test("numbers equal Java's, bit by bit", () => {
  for (const [text, bits] of read("java_numbers.json")) {
    const number = parseDouble(text);
    if (bits === null || number === null) {
      assert.equal(number, bits, JSON.stringify(text));
      continue;
    }
    const view = new DataView(new ArrayBuffer(8));
    view.setFloat64(0, number);
    assert.equal(Number.isNaN(number) ? "7ff8000000000000" : view.getBigUint64(0).toString(16), bits, JSON.stringify(text));
  }
});

test("a hostile pattern is stopped, and then neither EREG nor NEREG holds (tc-regex-limits)", () => {
  const value = "x".repeat(40);
  assert.throws(() => new Pattern("(x+x+)+y").matches(value), UndecidedMatch);
  assert.equal(compileConstraint("EREG", "(x+x+)+y")(value), false);
  assert.equal(compileConstraint("NEREG", "(x+x+)+y")(value), false);
  assert.throws(() => new Pattern("(?:ab|c)*").matches("ab".repeat(1_000_000)), UndecidedMatch);
  assert.throws(() => new Pattern("(".repeat(100_000)), InvalidPattern);
});

test("an invalid pattern matches nothing, so that NEREG holds", () => {
  assert.equal(compileConstraint("EREG", "(")("("), false);
  assert.equal(compileConstraint("NEREG", "(")("("), true);
});

test("a lone surrogate counts as a question mark in the bucket", () => {
  assert.equal(bucketOf(7, "a\ud800b"), bucketOf(7, "a?b"));
  assert.equal(bucketOf(7, "\udc00"), bucketOf(7, "?"));
  assert.notEqual(bucketOf(7, "😀"), bucketOf(7, "??"));
});
