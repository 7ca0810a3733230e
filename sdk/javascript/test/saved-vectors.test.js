// The vectors of saved flags, exposures, baggage and transports, which all SDKs share.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { describe, test } from "node:test";
import { readBaggage, writeBaggage } from "../dist/baggage.js";
import { digestOf, flagDigest } from "../dist/core/digest.js";
import { DigestCheck } from "../dist/core/digest-check.js";
import { ExposureCounts, ExposureWindow } from "../dist/core/exposures.js";
import { decodeMessage } from "../dist/core/message.js";
import { isBootstrapNewer, normalAddress, readBootstrap, readSaved, savedText, selectionText, storageKey } from "../dist/core/saved-flags.js";
import { sha256 } from "../dist/core/sha256.js";
import { StoreCore } from "../dist/core/store-core.js";
import { TransportChoice } from "../dist/core/transport-choice.js";
import { flag } from "./harness.js";
import { vectors } from "./vectors.js";

const saved = vectors("persistence");
const selectionOf = ({ ids, ...rest }) => ({ ...rest, ...(ids ? { flagIDs: ids } : {}) });
const keysOf = (read) => (typeof read === "string" ? null : read.unread?.index.filter((_, n) => n % 3 === 0) ?? read.flags.map(({ key }) => key));

test("SHA-256 equals OpenSSL's, at every length of a block", () => {
  for (let length = 0; length < 200; length++) {
    const text = "aé🚩".repeat(length).slice(0, length);
    if (/[\ud800-\udbff]$/.test(text)) continue;
    assert.equal(sha256(text), createHash("sha256").update(text).digest("hex"), String(length));
  }
});

describe("the key of saved flags", () => {
  for (const { id, url, selection, credential, normalUrl, selectionText: text, key } of saved.keys) {
    test(id, () => {
      assert.equal(normalAddress(url), normalUrl);
      assert.equal(selectionText(selectionOf(selection)), text);
      assert.equal(storageKey(url, selectionOf(selection), credential), key);
    });
  }
});

describe("saved flags are believed or ignored", () => {
  for (const { id, name, text, key, now, maxAgeMs, ignored, eventID, flagKeys } of saved.documents) {
    test(`${id} ${name}`, () => {
      const read = readSaved(text, key, Date.parse(now), maxAgeMs);
      assert.deepEqual([typeof read === "string" ? read : null, read.id ?? null, keysOf(read)], [ignored, eventID, flagKeys]);
    });
  }
  for (const { id, key, now, eventID, flags, document } of saved.saves) {
    test(id, () => {
      const { checksum, index, ...members } = JSON.parse(savedText(key, Date.parse(now), eventID, flags));
      assert.deepEqual(members, document);
      assert.match(checksum, /^[0-9a-f]{8}$/);
      if (index !== undefined) assert.deepEqual(index, flags.flatMap((flag) => [flag.key, flag.id, flagDigest(flag)]));
    });
  }
  test("a document with any character changed, or cut off anywhere, is not believed, or is the same (tc-cache-damaged)", () => {
    const flags = [flag(1, "a", { notes: "Grüße, {}" }), flag(2, "b")];
    const text = savedText("k", 0, "10@k", flags);
    assert.equal(readSaved(text, "k", 0, 1000).unread.texts.length, 2);
    for (let at = 0; at < text.length; at++) {
      for (const damaged of [`${text.slice(0, at)}${text[at] === "1" ? "2" : "1"}${text.slice(at + 1)}`, text.slice(0, at)]) {
        const read = readSaved(damaged, "k", 0, 1000);
        // The name of the member `checksum` may be damaged: then the digest decides.
        if (typeof read !== "string") assert.deepEqual(read, { id: "10@k", flags }, damaged);
      }
    }
  });
  test("flags that were not read are the same, one by one and all", () => {
    const flags = Array.from({ length: 20 }, (_, n) => flag(n + 1, `f${n}`, { notes: "a,\n{\"b\":[1]}" }));
    for (const several of [flags, flags.map((one) => ({ ...one, schema: "s" })), []]) {
      const begun = () => {
        const store = new StoreCore(undefined, new DigestCheck());
        store.begin("cache", readSaved(savedText("k", 0, "10@k", several), "k", 0, 1000));
        return store;
      };
      assert.deepEqual([begun().size, [...begun().values()], digestOf(begun().values())], [several.length, several, digestOf(several)]);
      const store = begun();
      for (const one of several) assert.deepEqual([store.get(one.key), store.find(one.id)], [one, one]);
      const { changes } = store.receive(decodeMessage({ type: "resync", id: "11@k", reason: "pruned", snapshot: { position: "11", flags: several.slice(1) } }), 0);
      assert.deepEqual(changes.map(({ kind, key }) => [kind, key]), several.slice(0, 1).map(({ key }) => ["deleted", key]));
    }
  });
  for (const { id, name, text, ignored, eventID, flagKeys } of saved.bootstraps) {
    test(`${id} ${name}`, () => {
      const forms = [text];
      try {
        forms.push(JSON.parse(text));
      } catch {
        // Only a text can be broken.
      }
      for (const form of forms) {
        if (typeof form === "string" && form !== text) continue;
        const read = readBootstrap(form);
        assert.deepEqual([typeof read === "string" ? read : null, read.id ?? null, keysOf(read)], [ignored, eventID, flagKeys]);
      }
    });
  }
  for (const { id, cache, bootstrap, source } of saved.choices) {
    test(id, () => {
      const isBootstrap = bootstrap !== null && (cache === null || isBootstrapNewer(cache, bootstrap.eventID));
      assert.equal(isBootstrap ? "bootstrap" : cache === null ? null : "cache", source);
    });
  }
});

describe("a store that begins with saved flags", () => {
  for (const { id, name, selection, start, steps, flags, digest, cursor } of saved.stores) {
    test(`${id} ${name}`, () => {
      const store = new StoreCore(selection, new DigestCheck());
      if (start !== null) store.begin(start.source, start);
      for (const [n, step] of steps.entries()) {
        let update = { changes: [], requestsSnapshot: false };
        if (step.message !== undefined) update = store.receive(decodeMessage(step.message), step.at);
        else if (step.signal === "tick") store.tick(step.at);
        else if (step.signal === "lost") store.connectionLost();
        else if (step.signal === "failed") store.clientFailed();
        else assert.fail(step.signal);
        const changes = update.changes.map(({ kind, key }) => [kind, key]);
        assert.deepEqual([store.status, changes, store.source], [step.status, step.changes, step.source], `step ${n}`);
        if (step.requestsSnapshot !== undefined) assert.equal(update.requestsSnapshot, step.requestsSnapshot, `step ${n}`);
      }
      assert.deepEqual(Object.fromEntries([...store.values()].map((flag) => [flag.key, flag])), flags);
      assert.equal(digestOf(store.values()), digest);
      assert.equal(store.lastEventId, cursor);
    });
  }
});

describe("exposures", () => {
  const { windows, batches } = vectors("exposures");
  for (const { id, name, windowMs, limit, steps } of windows) {
    test(`${id} ${name}`, () => {
      const window = new ExposureWindow(windowMs, limit);
      for (const { at, flagKey, entityID, variantKey, isReported } of steps) assert.equal(window.isFirst(at, "", flagKey, entityID, variantKey), isReported, `at ${at}`);
    });
  }
  for (const { id, exposures, body } of batches) {
    test(id, () => {
      const counts = new ExposureCounts(10_000);
      for (const [flagKey, variantKey] of exposures) counts.add({ flagKey, variantKey, count: 1 });
      assert.deepEqual({ exposures: counts.take() }, body);
      assert.equal(counts.size, 0);
    });
  }
});

describe("baggage", () => {
  const { read, write } = vectors("baggage");
  for (const { id, header, value } of read) test(id, () => assert.equal(readBaggage(header), value));
  for (const { id, header, value, result } of write) test(id, () => assert.equal(writeBaggage(header, value), result));
});

describe("the choice of a transport", () => {
  for (const { id, name, steps } of vectors("transports")) {
    test(`${id} ${name}`, () => {
      const choice = new TransportChoice();
      for (const { at, input, transport, do: expected, probe } of steps) {
        const step = choice.step(input, at);
        assert.deepEqual([step.do, step.probe ?? null, choice.transport], [expected, probe ?? null, transport], `${input} at ${at}`);
      }
    });
  }
});
