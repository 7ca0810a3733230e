// Cases beyond the shared vectors: batches, dependencies, schemas that appear, selections.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { parseExactly } from "../dist/core/exact-json.js";
import { evaluate, evaluateBatch } from "../dist/core/evaluation.js";
import { decodeMessage } from "../dist/core/message.js";
import { Cursor } from "../dist/core/cursor.js";
import { digestOf } from "../dist/core/digest.js";
import { DigestCheck } from "../dist/core/digest-check.js";
import { StoreCore } from "../dist/core/store-core.js";
import { covers, isEverything, toQuery, union } from "../dist/core/selection.js";
import { minus, toSubscribe } from "../dist/core/selection-messages.js";
import { event, flag } from "./harness.js";

const AROUND = { newEntityID: () => "randomly_generated_1", timestamp: () => "2026-11-23T08:00:00Z" };
const fill = (store, flags, id = "10@k") => store.receive(decodeMessage({ type: "snapshot", id, position: id.split("@")[0], flags }), 0);
const connected = (more = {}) => decodeMessage({ type: "connected", position: "10", id: "10@k", fresh: true, ageMs: 1, ...more });

function open(id, key, more = {}) {
  const variants = [{ id: id + 100, flagID: id, key: "on", attachment: null }];
  const distributions = [{ id, segmentID: id, variantID: id + 100, variantKey: "on", percent: 100 }];
  const segments = [{ id, flagID: id, description: null, rank: 0, rolloutPercent: 100, constraints: [], distributions }];
  return flag(id, key, { enabled: true, variants, segments, ...more });
}

function storeOf(...flags) {
  const store = new StoreCore(undefined, new DigestCheck());
  fill(store, flags);
  return store;
}

describe("evaluation", () => {
  test("a batch evaluates tags entity by entity, then ids, then keys, and keeps repeats", () => {
    const [red, green] = [{ id: 1, value: "red" }, { id: 2, value: "green" }];
    const source = storeOf(open(1, "a", { tags: [red] }), open(2, "b", { tags: [red, green] }), flag(3, "off", { tags: [red] }));
    const entities = [{ entityID: "x" }, { entityID: "y" }];
    const results = (request) => evaluateBatch(source, { entities, ...request }, AROUND).map(({ flagKey, evalContext }) => `${flagKey}:${evalContext.entityID}`);
    assert.deepEqual(results({ flagTags: ["red"], flagIDs: [1], flagKeys: ["b", "b"] }), ["b:x", "a:x", "b:y", "a:y", "a:x", "a:y", "b:x", "b:y", "b:x", "b:y"]);
    assert.deepEqual(results({ flagTags: ["red", "green"], flagTagsOperator: "ALL" }), ["b:x", "b:y"]);
    assert.deepEqual(results({ flagTags: ["none"], flagKeys: ["nowhere"] }), ["nowhere:x", "nowhere:y"]);
    assert.throws(() => evaluateBatch(source, { entities: [], flagKeys: ["a"] }, AROUND), RangeError);
    assert.throws(() => evaluateBatch(source, { entities }, AROUND), RangeError);
  });

  test("an entity id may be a whole number, whether or not the flag exists (tc-entity-id)", () => {
    const source = storeOf(open(1, "a"));
    for (const flagKey of ["a", "nowhere"]) {
      for (const entityID of [42, 42n]) assert.equal(evaluate(source, { flagKey, entityID }, AROUND).evalContext.entityID, "42");
      for (const entityID of [1.5, true, {}]) assert.throws(() => evaluate(source, { flagKey, entityID }, AROUND), /^TypeError: entityID is /);
    }
  });

  test("a cycle of dependencies blocks, a long chain does not (tc-cycle)", () => {
    const cycle = storeOf(open(1, "a", { dependsOn: ["b"] }), open(2, "b", { dependsOn: ["a"] }), open(3, "self", { dependsOn: ["self"] }));
    for (const flagKey of ["a", "b", "self"]) {
      const { variantID, segmentID } = evaluate(cycle, { flagKey, entityID: "x" }, AROUND);
      assert.deepEqual([variantID, segmentID], [null, null]);
    }
    const chain = storeOf(...Array.from({ length: 5000 }, (_, n) => open(n + 1, `f${n}`, { dependsOn: n === 4999 ? [] : [`f${n + 1}`, "f4999"] })));
    assert.equal(evaluate(chain, { flagKey: "f0", entityID: "x" }, AROUND).variantKey, "on");
    fill(chain, [...chain.values()].map((one) => (one.key === "f4999" ? { ...one, enabled: false } : one)), "11@k");
    assert.equal(evaluate(chain, { flagKey: "f0", entityID: "x" }, AROUND).variantKey, null);
  });

  test("the debug log lists each evaluated segment", () => {
    const source = storeOf(open(1, "a"), flag(2, "empty", { enabled: true }));
    const { evalDebugLog } = evaluate(source, { flagKey: "a", entityID: "x", enableDebug: true }, AROUND);
    assert.equal(evalDebugLog.segmentDebugLogs.length, 1);
    assert.match(evaluate(source, { flagKey: "empty", entityID: "x" }, AROUND).evalDebugLog.msg, /no segments/);
    assert.match(evaluate(source, { flagKey: "none" }, AROUND).evalDebugLog.msg, /not found/);
    assert.equal(evaluate(source, { flagKey: "a", entityID: "x" }, AROUND).evalDebugLog, null);
  });

  test("numbers and booleans count as their JSON text, other values are rejected", () => {
    const { evalContext } = evaluate(storeOf(open(1, "a")), { flagKey: "a", entityID: "x", entityContext: { n: 2.5, b: true, none: null, s: "x" } }, AROUND);
    assert.deepEqual(evalContext.entityContext, { n: "2.5", b: "true", s: "x" });
    assert.throws(() => evaluate(storeOf(open(1, "a")), { flagKey: "a", entityContext: { list: [] } }, AROUND), /entityContext.list/);
    assert.throws(() => evaluate(storeOf(open(1, "a")), { flagKey: "a", entityContext: { n: NaN } }, AROUND), TypeError);
  });
});

describe("the state of a store", () => {
  test("a second schema that appears, and goes, changes only what differs", () => {
    const store = storeOf(flag(1, "a"), flag(2, "b"));
    const kinds = ({ changes }) => changes.map(({ kind, key, schema }) => [kind, key, schema]);
    assert.deepEqual(kinds(fill(store, [flag(1, "a", { schema: "t1" }), flag(2, "b", { schema: "t1", notes: "x" }), flag(1, "a", { schema: "t2" })], "11@k")), [
      ["updated", "b", "t1"], ["created", "a", "t2"],
    ]);
    assert.equal(store.get("a", "t2").schema, "t2");
    assert.equal(store.get("b").notes, "x");
    assert.equal(store.find(2).key, "b");
    assert.throws(() => store.get("a"), /several schemas/);
    assert.throws(() => store.find(1), /several schemas/);
    assert.equal(store.get("a", "t3"), undefined);
    assert.deepEqual(kinds(fill(store, [flag(1, "a"), flag(2, "b", { notes: "x" })], "12@k")).map(([kind]) => kind), ["deleted"]);
    assert.equal(store.size, 2);
  });

  test("events that arrive while a snapshot is awaited are kept up to a limit; beyond it another snapshot is requested", () => {
    const store = new StoreCore(undefined, new DigestCheck());
    store.receive(connected(), 0);
    const flood = Array.from({ length: 10_001 }, (_, n) => event("flag_updated", `${n + 11}-0@k`, flag(1, "a", { notes: String(n) })));
    store.receive(decodeMessage({ type: "batch", id: "x", events: flood }), 1);
    const { requestsSnapshot } = fill(store, [flag(1, "a")], "10@k");
    assert.equal(requestsSnapshot, true);
    assert.equal(store.status, "STALE");
    fill(store, [flag(1, "a", { notes: "10000" })], "10011@k");
    assert.equal(store.status, "READY");
    assert.equal(store.get("a").notes, "10000");
  });

  test("a connection lost before the repairing snapshot leaves the store stale until a digest agrees", () => {
    const store = storeOf(flag(1, "a"));
    const heartbeat = (digest) => store.receive(decodeMessage({ type: "heartbeat", position: "10", id: "10@k", fresh: true, ageMs: 1, digest }), 1);
    assert.equal(heartbeat("1:00000000").requestsSnapshot, true);
    store.connectionLost();
    store.receive(connected({ resumed: true }), 2);
    assert.equal(store.status, "STALE");
    assert.equal(heartbeat("1:00000000").requestsSnapshot, true);
    fill(store, [flag(1, "a")]);
    heartbeat(digestOf(store.values()));
    assert.equal(store.status, "READY");
  });
});

describe("selections", () => {
  test("are united, compared and sent to the server", () => {
    assert.equal(union([]), null);
    const both = union([{ flags: ["a"], types: ["flag_updated"] }, { tags: ["t"], flags: ["a"] }]);
    assert.deepEqual(both, { flags: ["a"], tags: ["t"] });
    assert.deepEqual(union([{ flags: ["a"], types: ["x"] }, { flagIDs: [1], types: ["y"] }]), { flags: ["a"], flagIDs: [1], types: ["x", "y"] });
    assert.ok(covers({ all: true }, both));
    assert.ok(!covers(both, { all: true }));
    assert.ok(!covers({ all: true, types: ["x"] }, { all: true }));
    assert.ok(covers({ all: true, types: ["x", "y"] }, { flags: ["a"], types: ["x"] }));
    assert.ok(!covers({ all: true }, { tables: ["orders"] }));
    assert.ok(isEverything({}) && isEverything({ types: ["x"] }) && !isEverything({ segments: true }) && !isEverything({ tables: ["t"] }));
    assert.deepEqual(minus({ all: true }, { flags: ["a"] }), { all: true });
    assert.deepEqual(minus({ flags: ["a", "b"], segments: true }, { flags: ["b"] }), { flags: ["a"], segments: true });
    assert.equal(minus({ flags: ["a"] }, { flags: ["a"], tags: ["t"] }), null);
    assert.equal(String(toQuery({ flags: ["a&b"], flagIDs: [1], tags: ["t"], segments: true, tables: ["o"], types: ["x"], schemas: ["s"] })), "flag=a%26b&flagID=1&tag=t&segments=true&table=o&type=x&schema=s");
    assert.equal(String(toQuery({ all: true, flags: ["a"] })), "");
    assert.deepEqual(toSubscribe({}), { subscribeAll: true });
    assert.deepEqual(toSubscribe({ segments: true }), { segments: true });
  });
});

test("ids of an unknown form are dropped only as exact duplicates", () => {
  const cursor = new Cursor();
  assert.deepEqual(["x", "y", "x", undefined, "5-0@k", "4-0@k", "4-0@z"].map((id) => cursor.accept(id)), [true, true, false, true, true, false, true]);
  for (let n = 0; n < 2000; n++) cursor.accept(`opaque ${n}`);
  assert.equal(cursor.accept("opaque 1999"), false);
});

describe("numbers that a double cannot hold", () => {
  const text = '{"id": 9007199254740993, "ok": 9007199254740991, "neg": -12345678901234567890, "dec": 0.12345678901234567890, "short": 1.10, "huge": 1e999, "small": 1e-400, "zero": 0e5, "list": [9007199254740993,1], "s": "x:9007199254740993 \\" ,12345678901234567890"}';
  const same = { ok: 9007199254740991, dec: "0.12345678901234567890", short: 1.1, huge: "1e999", small: "1e-400", zero: 0, s: 'x:9007199254740993 " ,12345678901234567890' };

  test("become text, or a bigint where that is asked for", () => {
    assert.deepEqual(parseExactly(text), { ...same, id: "9007199254740993", neg: "-12345678901234567890", list: ["9007199254740993", 1] });
    assert.deepEqual(parseExactly(text, "bigint"), { ...same, id: 9007199254740993n, neg: -12345678901234567890n, list: [9007199254740993n, 1] });
    assert.throws(() => parseExactly('{"a": 12345678901234567890'), SyntaxError);
  });
});
