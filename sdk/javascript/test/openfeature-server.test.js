// The OpenFeature provider for servers, through the OpenFeature SDK, with a scripted server.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { OpenFeature, ProviderEvents } from "@openfeature/server-sdk";
import { FlagentWebSocketClient } from "../dist/index.js";
import { FlagentProvider } from "../dist/openfeature-server.js";
import { event, flag, ScriptedServer, transports, until } from "./harness.js";

const wire = transports.WebSocket;

function withVariant(id, key, variantKey, attachment = null) {
  const variants = [{ id: id + 100, flagID: id, key: variantKey, attachment }];
  const distributions = [{ id, segmentID: id, variantID: id + 100, variantKey, percent: 100 }];
  const constraints = [{ id, segmentID: id, property: "country", operator: "EQ", value: "CA" }];
  return flag(id, key, { enabled: true, variants, segments: [{ id, flagID: id, description: null, rank: 0, rolloutPercent: 100, constraints, distributions }] });
}

describe("the OpenFeature provider for servers", () => {
  const user = { targetingKey: "user123", country: "CA" };
  const exposures = [];
  const seen = [];
  let server;
  let peer;
  let client;

  before(async () => {
    server = await ScriptedServer.start();
    for (const name of [ProviderEvents.Stale, ProviderEvents.Ready, ProviderEvents.ConfigurationChanged]) OpenFeature.addHandler(name, () => void seen.push(name));
    const make = () => new FlagentWebSocketClient({ url: wire.url(server), reconnectConfig: { initialDelay: 1 } });
    const set = OpenFeature.setProviderAndWait(new FlagentProvider(make, { onExposure: (one) => exposures.push(one) }));
    const accepted = await wire.accept(server);
    ({ peer } = accepted);
    const reduced = flag(5, "reduced", { enabled: true, tooLarge: 2_000_000 });
    wire.snapshot(peer, [withVariant(1, "bool", "on"), withVariant(2, "text", "blue"), withVariant(3, "number", "n", { value: "2.5" }), withVariant(4, "object", "x", { colour: "red" }), reduced], "10@k", accepted.requestId);
    await set;
    client = OpenFeature.getClient();
  });

  after(async () => {
    await OpenFeature.close();
    await until(() => server.open === 0, "closed");
    await server.stop();
  });

  test("each call has its own context", async () => {
    assert.equal(await client.getBooleanValue("bool", false, user), true);
    assert.equal(await client.getBooleanValue("bool", false, { ...user, country: "DE" }), false);
    assert.equal(await client.getStringValue("text", "none", user), "blue");
    assert.equal(await client.getNumberValue("number", 0, user), 2.5);
    assert.deepEqual(await client.getObjectValue("object", {}, user), { colour: "red" });
  });

  test("errors have OpenFeature's codes (tc-targeting-key tc-reduced-flag)", async () => {
    const code = async (key, context) => (await client.getBooleanDetails(key, false, context)).errorCode;
    assert.equal(await code("bool", {}), "TARGETING_KEY_MISSING");
    assert.equal(await code("bool", { targetingKey: 42 }), "INVALID_CONTEXT");
    assert.equal(await code("nowhere", user), "FLAG_NOT_FOUND");
    assert.equal(await code("text", user), "TYPE_MISMATCH");
    assert.equal(await code("reduced", user), "GENERAL");
    assert.match((await client.getBooleanDetails("reduced", false, user)).errorMessage, /reduced has 2000000 bytes/);
  });

  test("reports exposures (tc-exposure)", async () => {
    await client.getStringValue("text", "none", { ...user, targetingKey: "seen" });
    await until(() => exposures.some(({ entityID }) => entityID === "seen"), "the exposure");
    const { time, ...exposure } = exposures.find(({ entityID }) => entityID === "seen");
    assert.ok(time instanceof Date);
    assert.deepEqual(exposure, { flagKey: "text", flagID: 2, schema: null, variantKey: "blue", entityID: "seen", segmentID: 2, position: "10", contextKeys: ["country"] });
  });

  test("follows changes and a lost connection", async () => {
    wire.event(peer, event("flag_updated", "11-0@k", withVariant(2, "text", "green")));
    await until(async () => (await client.getStringValue("text", "none", user)) === "green", "the change");
    peer.socket.destroy();
    await until(() => seen.includes(ProviderEvents.Stale), "stale");
    await wire.accept(server, { position: "11" });
    await until(() => seen.filter((name) => name === ProviderEvents.Ready).length > 1, "ready again");
  });
});
