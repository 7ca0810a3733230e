// What local evaluation reports, against a server that each test scripts.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { afterEach, beforeEach, describe, test } from "node:test";
import { FlagentWebSocketClient, FlagStore, ReducedFlag } from "../dist/index.js";
import { LocalEvaluation } from "../dist/evaluation.js";
import { ExposureReporter } from "../dist/exposures.js";
import { FakeClock, flag, until } from "./harness.js";

const variants = [{ id: 5, flagID: 1, key: "on", attachment: null }];
const distributions = [{ id: 6, segmentID: 4, variantID: 5, variantKey: "on", percent: 100 }];
const segments = [{ id: 4, flagID: 1, description: null, rank: 0, rolloutPercent: 100, constraints: [], distributions }];
const FLAGS = { type: "snapshot", id: "10@k", position: "10", flags: [flag(1, "a", { enabled: true, variants, segments }), flag(2, "off"), flag(3, "big", { enabled: true, tooLarge: 2_000_000 })] };

describe("exposures", () => {
  let clock;
  let client;
  let store;
  let local;
  let errors;
  let server;
  let requests;
  let answers;

  beforeEach(async () => {
    clock = new FakeClock();
    errors = [];
    requests = [];
    answers = [];
    server = createServer(async (request, response) => {
      let body = "";
      for await (const data of request) body += data;
      requests.push({ path: request.url, key: request.headers["x-api-key"], body: JSON.parse(body).exposures });
      const [status = 202, headers = {}] = answers.shift() ?? [];
      if (status === null) return request.socket.destroy();
      response.writeHead(status, headers).end("{}");
    });
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    client = new FlagentWebSocketClient({ url: `ws://127.0.0.1:${server.address().port}/team/ws`, apiKey: async () => "k", clock, start: false });
    client.onError((error) => errors.push(error.message));
    store = new FlagStore(client, { bootstrap: FLAGS });
    local = new LocalEvaluation(store);
  });

  afterEach(async () => {
    client.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });

  test("each evaluation of a flag that the store holds, once per entity and variant (tc-exposure)", async () => {
    const seen = [];
    const remove = local.onExposure((one) => seen.push(one));
    local.evaluate("a", "ann", { country: "CA", age: 7 });
    local.evaluate("a", "ann", { country: "DE" });
    local.evaluate("off", "ann");
    local.evaluate("none", "ann");
    local.evaluateBatch({ entities: [{ entityID: "ann" }, { entityID: "bob" }], flagIDs: [1] });
    assert.equal(seen.length, 0, "never within the call");
    await until(() => seen.length === 3);
    remove();
    local.evaluate("a", "carl");
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(seen.map(({ time, ...one }) => [time instanceof Date, one]), [
      [true, { flagKey: "a", flagID: 1, schema: null, variantKey: "on", entityID: "ann", segmentID: 4, position: "10", contextKeys: ["age", "country"] }],
      [true, { flagKey: "off", flagID: 2, schema: null, variantKey: null, entityID: "ann", segmentID: null, position: "10", contextKeys: [] }],
      [true, { flagKey: "a", flagID: 1, schema: null, variantKey: "on", entityID: "bob", segmentID: 4, position: "10", contextKeys: [] }],
    ]);
  });

  test("a handler that raises or is slow never disturbs evaluation (tc-exposure-raises)", async () => {
    let calls = 0;
    let release;
    local.onExposure(() => { throw new Error("broken"); });
    local.onExposure(() => {
      calls++;
      return new Promise((resolve) => { release = resolve; });
    });
    for (let n = 0; n < 10_011; n++) assert.equal(local.evaluate("a", `u${n}`).variantKey, "on");
    await until(() => calls === 1);
    assert.ok(local.droppedExposures >= 10 && local.droppedExposures <= 11, String(local.droppedExposures));
    assert.deepEqual(errors, ["broken"]);
    release();
    await until(() => calls === 2);
  });

  test("a flag without its rules is not evaluated (tc-reduced-flag)", () => {
    const dependent = new FlagStore(client, { bootstrap: [...FLAGS.flags, flag(9, "leans", { enabled: true, dependsOn: ["big"], variants, segments })] });
    for (const [evaluation, key] of [[local, "big"], [new LocalEvaluation(dependent), "leans"]]) {
      assert.throws(() => evaluation.evaluate(key, "u"), (error) => error instanceof ReducedFlag && error.flagKey === "big" && error.sizeBytes === 2_000_000 && /on the server/.test(error.message));
    }
  });

  test("counts, and sends every ten seconds or a thousand (tc-exposure-report)", async () => {
    const reporter = new ExposureReporter(client);
    local.onExposure(reporter.report);
    for (const user of ["ann", "bob", "bob"]) local.evaluate("a", user);
    local.evaluate("off", "ann");
    await until(() => clock.waits.includes(10_000));
    clock.advance(9999);
    assert.equal(requests.length, 0);
    clock.advance(1);
    await until(() => requests.length === 1);
    assert.deepEqual(requests[0], { path: "/team/api/v1/exposures", key: "k", body: [{ flagKey: "a", variantKey: "on", count: 2 }, { flagKey: "off", variantKey: null, count: 1 }] });
    await until(() => clock.waits.length === 0, "the end of the request");
    for (let n = 0; n < 1000; n++) reporter.report({ flagKey: `f${n}`, variantKey: null, schema: "tenant" });
    await until(() => requests.length === 2);
    assert.deepEqual([requests[1].body.length, requests[1].body[0]], [1000, { flagKey: "f0", variantKey: null, count: 1, schema: "tenant" }]);
    await reporter.close();
    assert.deepEqual(clock.waits, []);
  });

  test("what cannot be sent is counted together and sent later; beyond the bound the oldest are dropped (tc-exposure-fails)", async () => {
    const reporter = new ExposureReporter(client, { interval: 20_000 });
    answers.push([503], [429, { "Retry-After": "60" }], [null]);
    const one = (key) => reporter.report({ flagKey: key, variantKey: "on", schema: null });
    /** Only the wait for the next report is left, not the limit of a request. */
    const waits = (least) => until(() => clock.waits.length === 1 && clock.waits[0] >= least, `a wait of ${least} ms`);
    one("a");
    clock.advance(20_000);
    await until(() => requests.length === 1);
    await waits(20_000);
    one("a");
    clock.advance(20_000);
    await until(() => requests.length === 2);
    await waits(60_000);
    clock.advance(clock.waits[0]);
    await until(() => requests.length === 3);
    await waits(20_000);
    for (let n = 0; n < 10_000; n++) one(`f${n}`);
    assert.equal(reporter.dropped, 2);
    clock.advance(clock.waits[0]);
    await until(() => requests.length >= 4);
    assert.equal(requests[3].body.length, 1000);
    assert.deepEqual(requests[1].body, [{ flagKey: "a", variantKey: "on", count: 2 }]);
    assert.deepEqual(errors, []);
    await reporter.close();
  });

  test("a server that refuses is reported once, and nothing is sent any more (tc-exposure-fails)", async () => {
    const reporter = new ExposureReporter(client);
    answers.push([404]);
    reporter.report({ flagKey: "a", variantKey: null, schema: null });
    clock.advance(10_000);
    await until(() => errors.length === 1);
    reporter.report({ flagKey: "a", variantKey: null, schema: null });
    clock.advance(100_000);
    await reporter.close();
    assert.deepEqual([errors, requests.length, reporter.dropped, clock.waits], [["exposures are no longer reported: the server responded with 404"], 1, 2, []]);
  });

  test("close sends what is left, once (tc-exposure-close)", async () => {
    const reporter = new ExposureReporter(client);
    reporter.report({ flagKey: "a", variantKey: "on", schema: null });
    await reporter.close();
    await reporter.close();
    assert.deepEqual(requests.map(({ body }) => body), [[{ flagKey: "a", variantKey: "on", count: 1 }]]);
    assert.deepEqual(clock.waits, []);
    assert.throws(() => new ExposureReporter(client, { interval: 0 }), RangeError);
  });
});
