// Every case of the vectors that all SDKs share.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Backoff, ReconnectConfig, reconnectDelay } from "../dist/core/backoff.js";
import { canonicalFlag, digestOf } from "../dist/core/digest.js";
import { SseParser } from "../dist/core/sse-parser.js";
import { decodeEvent, EventType } from "../dist/core/event.js";
import { parseKeepAlive, decodeMessage, decodeSseItem } from "../dist/core/message.js";
import { closeCodeOutcome, statusOutcome, isEventStream, parseRetryAfter, resolveRedirect, resolveSocketRedirect } from "../dist/core/policy.js";
import { isBefore, parseEventId } from "../dist/core/event-id.js";
import { DigestCheck } from "../dist/core/digest-check.js";
import { StoreCore } from "../dist/core/store-core.js";
import { evaluate } from "../dist/core/evaluation.js";
import { contextTexts, entityText, readNumber } from "../dist/core/values.js";
import { evaluationVectors, vectors } from "./vectors.js";

describe("the event stream is parsed as in the standard", () => {
  const feed = (chunks) => {
    const parser = new SseParser();
    const outputs = chunks.flatMap((chunk) => parser.push(chunk));
    return { outputs, lastEventId: parser.lastEventId };
  };
  for (const { id, name, input, inputHex, outputs, lastEventId } of vectors("sse")) {
    test(`${id} ${name}`, () => {
      const bytes = inputHex === undefined ? Buffer.from(input, "utf8") : Buffer.from(inputHex, "hex");
      const expected = { outputs, lastEventId };
      assert.deepEqual(feed([bytes]), expected, "whole");
      assert.deepEqual(feed([...bytes].map((byte) => Uint8Array.of(byte))), expected, "byte by byte");
      for (let at = 0; at <= bytes.length; at++) {
        assert.deepEqual(feed([bytes.subarray(0, at), bytes.subarray(at)]), expected, `split at ${at}`);
      }
    });
  }
});

describe("keep-alive comments", () => {
  for (const { id, name, comment, heartbeat } of vectors("keepalive")) {
    test(`${id} ${name}`, () => {
      const decoded = parseKeepAlive(comment);
      if (heartbeat === null) return assert.equal(decoded, null);
      const given = Object.fromEntries(Object.entries(decoded).filter(([key, value]) => key !== "kind" && value !== null));
      assert.deepEqual(given, heartbeat);
    });
  }
});

describe("reconnection timing", () => {
  const { delays, sequences } = vectors("backoff");
  const config = ({ maxAttempts, initialDelayMs, maxDelayMs, multiplier, stableAfterMs }) => ReconnectConfig.from({
    maxAttempts, multiplier, initialDelay: initialDelayMs, maxDelay: maxDelayMs, stableAfter: stableAfterMs,
  });
  const same = (given, expected) => {
    if (expected === null || given === null) assert.equal(given, expected);
    else assert.ok(Math.abs(given - expected) <= 1, `${given} is not ${expected}`);
  };
  for (const c of delays) {
    test(`${c.id} ${c.name}`, () => same(reconnectDelay(config(c.config), c.attempt, c.random, c.retryMs, c.retryAfterMs, !c.feedsStore || c.config.maxAttempts !== undefined), c.delayMs));
  }
  for (const { id, name, config: given, steps } of sequences) {
    test(`${id} ${name}`, () => {
      const backoff = new Backoff(config(given));
      for (const step of steps) {
        if (step.event === "message") backoff.message(step.at);
        else if (step.event === "retry") backoff.retry(step.ms);
        else if (step.event === "lost") same(backoff.lost(step.at, step.random, step.retryAfterMs ?? null), step.delayMs);
        else assert.equal(step.event, "connected");
      }
    });
  }
});

describe("outcomes of responses", () => {
  const policy = vectors("policy");
  for (const { id, status, outcome } of policy.http) test(id, () => assert.equal(statusOutcome(status), outcome));
  for (const { id, code, outcome } of policy.close) test(id, () => assert.equal(closeCodeOutcome(code), outcome));
  for (const { id, value, isStream } of policy.contentType) test(id, () => assert.equal(isEventStream(value), isStream));
  for (const { id, value, now, ms } of policy.retryAfter) test(id, () => assert.equal(parseRetryAfter(value, Date.parse(now)), ms));
  for (const { id, name, from, location, hop, outcome } of policy.redirect) {
    test(`${id} ${name}`, () => assert.deepEqual((/^ws/.test(from) ? resolveSocketRedirect : resolveRedirect)(from, location, hop), outcome));
  }
});

describe("digests", () => {
  for (const { id, name, flags, canonical, digest: expected } of vectors("digest")) {
    test(`${id} ${name}`, () => {
      assert.deepEqual(flags.map(canonicalFlag), canonical);
      assert.equal(digestOf(flags), expected);
    });
  }
});

describe("event ids", () => {
  for (const { id, a, b, aIs } of vectors("event_ids")) {
    test(`${id} ${a} ${aIs} ${b}`, () => {
      const [x, y] = [parseEventId(a), parseEventId(b)];
      const isComparable = x !== null && y !== null && x.log === y.log;
      const relation = a === b ? "same" : !isComparable ? "incomparable" : isBefore(x, y) ? "before" : "after";
      assert.equal(relation, aIs);
    });
  }
});

describe("typed events", () => {
  for (const { id, name, message, event: expected } of vectors("messages")) {
    test(`${id} ${name}`, () => {
      const { type, ...bare } = message;
      const viaStream = decodeSseItem(type, JSON.stringify(bare), message.id ?? "");
      assert.deepEqual(viaStream.events?.[0]?.data ?? null, decodeMessage(message).events[0].data ?? null, "the stream's form");
      const event = decodeEvent(message);
      const byValue = Object.fromEntries(Object.entries(EventType).map(([key, value]) => [value, key]));
      for (const [field, value] of Object.entries(expected)) {
        if (field === "type") assert.equal(byValue[event.type], value ?? "UNKNOWN");
        else if (field === "typeName") assert.equal(event.typeName, value);
        else if (field === "dataKey") assert.equal(typeof event.data === "string" ? event.data : event.data.key, value);
        else if (field === "count") assert.equal(event.data.length, value);
        else if (field === "dataKind") assert.equal(kindOf(event), value);
        else assert.equal(event[field], value, field);
      }
    });
  }

  function kindOf({ type, data, raw }) {
    if (data === null) return "none";
    if (data === raw) return "raw";
    if (typeof data === "string") return "key";
    if (Array.isArray(data)) return "distributions";
    return type === "segment_updated" ? "segment" : type === "variant_updated" ? "variant" : "flag";
  }
});

describe("the store's state", () => {
  for (const { id, name, selection, steps, flags, digest: expected, cursor } of vectors("store")) {
    test(`${id} ${name}`, () => {
      const store = new StoreCore(selection, new DigestCheck());
      for (const [number, step] of steps.entries()) {
        let result = { changes: [], requestsSnapshot: false };
        let error = false;
        if (step.message !== undefined) {
          let message = null;
          try {
            message = decodeMessage(step.message);
          } catch {
            error = true;
          }
          if (message !== null) result = store.receive(message, step.at);
        } else if (step.signal === "tick") store.tick(step.at);
        else store[{ lost: "connectionLost", failed: "clientFailed", closed: "close" }[step.signal]]();
        const actual = { status: store.status, changes: result.changes.map(listed), request: result.requestsSnapshot, error };
        const { status, changes, request, error: wrong } = step;
        assert.deepEqual(actual, { status, changes, request: request === "snapshot", error: wrong === true }, `step ${number}`);
      }
      const state = Object.fromEntries([...store.values()].map(({ schema: _, ...flag }) => [flag.key, flag]));
      assert.deepEqual(state, flags);
      assert.equal(digestOf(store.values()), expected);
      assert.equal(store.lastEventId, cursor);
      for (const flag of store.values()) assert.equal(store.get(flag.key, flag.schema), flag);
      for (const flag of store.values()) assert.equal(store.find(flag.id, flag.schema), flag);
    });
  }

  // Vectors name a schema only if there are several.
  const listed = ({ kind, key, schema }) => (schema === null ? [kind, key] : [kind, key, schema]);
});

describe("values", () => {
  const { attachmentNumber, entityID, contextValue } = vectors("values");
  const given = ({ value, integer, special }) => (integer !== undefined ? BigInt(integer) : special !== undefined ? Number(special) : value);
  for (const { id, name, text, number } of attachmentNumber) {
    // Minus zero is zero.
    test(`${id} ${name}`, () => assert.ok(readNumber(text) === number, `${text} is ${readNumber(text)}`));
  }
  for (const one of entityID) {
    test(`${one.id} ${one.name}`, () => {
      if (one.text === null) assert.throws(() => entityText(given(one)), /^TypeError: entityID is /);
      else assert.equal(entityText(given(one)), one.text);
    });
  }
  for (const one of contextValue) {
    test(`${one.id} ${one.name}`, () => {
      if (one.text === null) assert.throws(() => contextTexts({ p: given(one) }), /^TypeError: entityContext.p is /);
      else assert.deepEqual(contextTexts({ p: given(one), none: null }), { p: one.text });
    });
  }
});

describe("local evaluation", () => {
  for (const { name, flag, otherFlags = [], request, expected } of evaluationVectors()) {
    test(name, () => {
      const store = new StoreCore();
      const flags = [flag, ...otherFlags];
      store.receive(decodeMessage({ type: "snapshot", id: "1@k", position: "1", flags }), 0);
      const result = evaluate(store, request, { newEntityID: () => "randomly_generated_1", timestamp: () => "" });
      for (const [field, value] of Object.entries(expected)) {
        if (field !== "evalContext") assert.deepEqual(result[field], value, field);
        else for (const [part, wanted] of Object.entries(value)) assert.deepEqual(result.evalContext[part], wanted, part);
      }
    });
  }
});
