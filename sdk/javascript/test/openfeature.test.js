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
    const set = OpenFeature.setProviderAndWait(new FlagentProvider(realtime));
    ({ peer } = await wire.accept(server));
    wire.snapshot(peer, [
      withVariant(1, "bool", "on"), withVariant(2, "text", "blue"), withVariant(3, "number", "big", { value: "2.5" }),
      withVariant(4, "object", "x", { colour: "red" }), flag(5, "disabled"), withVariant(6, "odd", "maybe"),
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

  const pick = ({ value, reason, errorCode }) => [value, reason, errorCode];
});
