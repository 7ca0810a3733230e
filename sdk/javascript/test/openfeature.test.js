// The OpenFeature web provider, through the OpenFeature SDK, in Node.js with a scripted server.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { OpenFeature, ProviderEvents } from "@openfeature/web-sdk";
import { FlagentSSEClient } from "../dist/index.js";
import { FlagentProvider } from "../dist/openfeature.js";
import { event, flag, ScriptedServer, transports, until } from "./harness.js";

const wire = transports.SSE;

/** A flag whose one variant goes to everyone in Canada. */
function withVariant(id, key, variantKey, attachment = null, change = {}) {
  const variants = [{ id: id + 100, flagID: id, key: variantKey, attachment }];
  const distributions = [{ id, segmentID: id, variantID: id + 100, variantKey, percent: 100 }];
  const constraints = [{ id, segmentID: id, property: "country", operator: "EQ", value: "CA" }];
  const segments = [{ id, flagID: id, description: null, rank: 0, rolloutPercent: 100, constraints, distributions, ...change }];
  return flag(id, key, { enabled: true, variants, segments });
}

describe("the OpenFeature web provider", () => {
  let server;
  let peer;
  let client;
  const seen = [];

  before(async () => {
    server = await ScriptedServer.start();
    const realtime = new FlagentSSEClient({ url: wire.url(server), reconnectConfig: { initialDelay: 1 } });
    await OpenFeature.setContext({ targetingKey: "user123", country: "CA", since: new Date(0), list: [1] });
    for (const name of [ProviderEvents.Stale, ProviderEvents.Ready, ProviderEvents.ConfigurationChanged, ProviderEvents.Error]) {
      OpenFeature.addHandler(name, (details) => seen.push([name, details?.flagsChanged]));
    }
    const set = OpenFeature.setProviderAndWait(new FlagentProvider(() => realtime));
    ({ peer } = await wire.accept(server));
    wire.snapshot(peer, [
      withVariant(1, "bool", "on"), withVariant(2, "text", "blue"), withVariant(3, "number", "big", { value: "2.5" }),
      withVariant(4, "object", "x", { colour: "red" }), flag(5, "disabled"), withVariant(6, "odd", "maybe"),
      ...["1_000", "0x10", "3.0", "1e3", "nan", "Infinity", "٣٢", "9007199254740993", " 5"].map((value, n) => withVariant(20 + n, `n${value}`, "v", { value })),
      withVariant(7, "everyone", "no", null, { constraints: [] }), withVariant(8, "7", "yes"), withVariant(9, "some", "on", null, { rolloutPercent: 99 }),
    ], "10@k");
    await set;
    client = OpenFeature.getClient();
  });

  after(async () => {
    await OpenFeature.close();
    await until(() => server.open === 0, "closed");
    await server.stop();
  });

  test("resolves each type from variants and attachments", () => {
    assert.equal(client.getBooleanValue("bool", false), true);
    assert.equal(client.getStringValue("text", "none"), "blue");
    assert.equal(client.getNumberValue("number", 0), 2.5);
    assert.deepEqual(client.getObjectValue("object", {}), { colour: "red" });
    const { variant, reason } = client.getStringDetails("text", "none");
    assert.deepEqual([variant, reason], ["blue", "TARGETING_MATCH"]);
  });

  test("a number is one of JSON, or a type mismatch", () => {
    const numbers = { "1_000": null, "0x10": null, "3.0": 3, "1e3": 1000, nan: null, Infinity: null, "٣٢": null, "9007199254740993": null, " 5": null };
    for (const [text, number] of Object.entries(numbers)) {
      const expected = number === null ? [-1, "ERROR", "TYPE_MISMATCH"] : [number, "TARGETING_MATCH", undefined];
      assert.deepEqual(pick(client.getNumberDetails(`n${text}`, -1)), expected, text);
    }
  });

  test("a missing or blank targeting key is an error (tc-targeting-key)", async () => {
    for (const context of [{}, { targetingKey: "" }, { targetingKey: " \u00a0" }, { country: "CA" }]) {
      await OpenFeature.setContext(context);
      for (const key of ["some", "nowhere", "disabled"]) assert.deepEqual(pick(client.getBooleanDetails(key, true)), [true, "ERROR", "TARGETING_KEY_MISSING"]);
    }
    await OpenFeature.setContext({ targetingKey: 42, country: "CA" });
    assert.deepEqual(pick(client.getBooleanDetails("some", true)), [true, "ERROR", "INVALID_CONTEXT"]);
    await OpenFeature.setContext({ targetingKey: "user123", country: "CA" });
  });

  test("resolves to the default with the right reason", () => {
    assert.deepEqual(pick(client.getBooleanDetails("nowhere", true)), [true, "ERROR", "FLAG_NOT_FOUND"]);
    assert.deepEqual(pick(client.getBooleanDetails("disabled", true)), [true, "DISABLED", undefined]);
    assert.deepEqual(pick(client.getBooleanDetails("odd", true)), [true, "ERROR", "TYPE_MISMATCH"]);
    assert.deepEqual(pick(client.getNumberDetails("text", 7)), [7, "ERROR", "TYPE_MISMATCH"]);
    assert.deepEqual(pick(client.getObjectDetails("text", {})), [{}, "ERROR", "TYPE_MISMATCH"]);
  });

  test("uses the reasons of OFREP, and treats a key of digits as a key", () => {
    assert.deepEqual(pick(client.getBooleanDetails("everyone", true)), [false, "STATIC", undefined]);
    assert.deepEqual(pick(client.getBooleanDetails("7", false)), [true, "TARGETING_MATCH", undefined]);
    assert.deepEqual(pick(client.getBooleanDetails("some", false)), [true, "SPLIT", undefined]);
  });

  test("follows the context", async () => {
    await OpenFeature.setContext({ targetingKey: "user123", country: "DE" });
    assert.deepEqual(pick(client.getBooleanDetails("bool", false)), [false, "DEFAULT", undefined]);
    await OpenFeature.setContext({ targetingKey: "user123", country: "CA" });
    assert.equal(client.getBooleanValue("bool", false), true);
  });

  test("emits changes, staleness and readiness", async () => {
    seen.length = 0;
    wire.event(peer, event("flag_updated", "11-0@k", withVariant(2, "text", "green")));
    await until(() => client.getStringValue("text", "none") === "green");
    await until(() => seen.some(([name, keys]) => name === ProviderEvents.ConfigurationChanged && keys[0] === "text"));
    peer.socket.destroy();
    await until(() => seen.some(([name]) => name === ProviderEvents.Stale));
    assert.deepEqual(pick(client.getStringDetails("text", "none")).slice(0, 2), ["green", "STALE"]);
    await wire.accept(server, { position: "11" });
    await until(() => seen.some(([name]) => name === ProviderEvents.Ready));
  });

  test("may be replaced and set again; closes a client that it made, never one that was given (tc-provider-again)", async () => {
    const other = await ScriptedServer.start();
    const serve = async () => wire.snapshot((await wire.accept(other)).peer, [withVariant(1, "mine", "on")], "10@k");
    const given = new FlagentSSEClient({ url: wire.url(other) });
    const made = [];
    const make = () => made[made.push(new FlagentSSEClient({ url: wire.url(other) })) - 1];
    try {
      await OpenFeature.setContext("mine", { targetingKey: "user123", country: "CA" });
      const mine = OpenFeature.getClient("mine");
      given.subscribeAll(() => undefined);
      await wire.accept(other);
      const providers = [new FlagentProvider(given), new FlagentProvider(make)];
      for (const provider of [...providers, ...providers]) {
        const set = OpenFeature.setProviderAndWait("mine", provider);
        void serve();
        await set;
        assert.equal(mine.getBooleanValue("mine", false), true);
        assert.equal(given.state, "connected");
      }
      const replaced = OpenFeature.setProviderAndWait("mine", providers[0]);
      void serve();
      await replaced;
      await until(() => made.every(({ state }) => state === "closed"));
      assert.equal(made.length, 2);
      assert.equal(given.state, "connected");
      given.close();
      await providers[0].onClose();
      await assert.rejects(providers[0].initialize(), /closed/);
    } finally {
      given.close();
      for (const one of made) one.close();
      await other.stop();
    }
  });

  const pick = ({ value, reason, errorCode }) => [value, reason, errorCode];
});
