// The JavaScript SDK in numbers, as JSON. Run: node --expose-gc bench/sdk/javascript.mjs   (after sdk/javascript/ci has built it)
//
// Evaluations per second of CPU time, in one thread, beside a look-up in a Map as the floor, and beside LaunchDarkly's server SDK with test data where that
// is installed (LAUNCHDARKLY_SDK=the directory whose node_modules has @launchdarkly/node-server-sdk). Memory of a store, and the time from a new client to readable and READY flags.
// FLAGENT_TEST_SERVER is the command that starts the server.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { FlagentWebSocketClient, FlagStore } from "../../sdk/javascript/dist/index.js";
import { LocalEvaluation } from "../../sdk/javascript/dist/evaluation.js";
import { FilePersistence } from "../../sdk/javascript/dist/file-persistence.js";
import { COMMAND, RealServer } from "../../sdk/javascript/test/real-server.js";

const FLAGS = Number(process.env.FLAGS ?? 10_000);
const ROUNDS = 7;

const median = (numbers) => [...numbers].sort((a, b) => a - b)[numbers.length >> 1];
const cpuMs = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

function flag(n) {
  const segment = (id, value) => ({
    id, flagID: n, description: "", rank: id, rolloutPercent: 100,
    constraints: [{ id, segmentID: id, property: "country", operator: "EQ", value }, { id: id + 1, segmentID: id, property: "age", operator: "GTE", value: "18" }],
    distributions: [{ id, segmentID: id, variantID: 2 * n, variantKey: "on", percent: 50 }, { id: id + 1, segmentID: id, variantID: 2 * n + 1, variantKey: "off", percent: 50 }],
  });
  return {
    id: n, key: `flag_${n}`, description: "a flag of the benchmark", createdBy: null, updatedBy: null, enabled: true, snapshotID: 1, notes: null, dataRecordsEnabled: false, entityType: "user",
    environmentId: null, projectId: null, dependsOn: [], tags: [{ id: 1, value: "bench" }], updatedAt: "2026-11-23T08:00:00", archived: false, segments: [segment(3 * n, "US"), segment(3 * n + 2, "DE")],
    variants: [{ id: 2 * n, flagID: n, key: "on", attachment: { value: "1" } }, { id: 2 * n + 1, flagID: n, key: "off", attachment: null }],
  };
}

/** Calls per second of CPU time, the median of several rounds. */
async function perSecond(call) {
  const rates = [];
  for (let round = 0; round <= ROUNDS; round++) {
    const began = cpuMs();
    let calls = 0;
    while (cpuMs() - began < 200) for (let n = 0; n < 2000; n++) {
      const answer = call(calls++);
      if (answer instanceof Promise) await answer;
    }
    // The first round compiles.
    if (round > 0) rates.push((calls / (cpuMs() - began)) * 1000);
  }
  return Math.round(median(rates));
}

const figures = { node: process.version, flags: FLAGS };
const snapshot = { type: "snapshot", id: "1@bench", position: "1", flags: Array.from({ length: FLAGS }, (_, n) => flag(n + 1)) };
const text = JSON.stringify(snapshot);
figures.snapshotBytes = text.length;

{
  const client = new FlagentWebSocketClient({ url: "ws://127.0.0.1:1/", start: false });
  globalThis.gc?.();
  const before = process.memoryUsage().heapUsed;
  const parsed = JSON.parse(text);
  globalThis.gc?.();
  const plain = process.memoryUsage().heapUsed;
  const store = new FlagStore(client, { bootstrap: parsed });
  globalThis.gc?.();
  if (globalThis.gc) {
    figures.memoryOfParsedJsonBytes = plain - before;
    figures.memoryOfStoreBytes = process.memoryUsage().heapUsed - before;
  }
  const local = new LocalEvaluation(store);
  const entityContext = { country: "DE", age: 33 };
  const map = new Map(parsed.flags.map((one) => [one.key, one]));
  const keys = [...map.keys()];
  const lookUp = (n) => map.get(keys[n % FLAGS]);
  figures.evaluationsPerSecond = await perSecond((n) => local.evaluate(keys[n % FLAGS], `user${n % 1000}`, entityContext));
  figures.oneFlagEvaluationsPerSecond = await perSecond((n) => local.evaluate("flag_1", `user${n % 1000}`, entityContext));
  figures.storeLookUpsPerSecond = await perSecond((n) => store.get(keys[n % FLAGS]));
  figures.mapLookUpsPerSecond = await perSecond(lookUp);
  client.close();
}

if (process.env.LAUNCHDARKLY_SDK) {
  const require = createRequire(pathToFileURL(join(process.env.LAUNCHDARKLY_SDK, "package.json")));
  const launchDarkly = require("@launchdarkly/node-server-sdk");
  const data = new (require("@launchdarkly/node-server-sdk/integrations").TestData)();
  for (let n = 1; n <= FLAGS; n++) await data.update(data.flag(`flag_${n}`).booleanFlag().ifMatch("user", "country", "DE").thenReturn(true).fallthroughVariation(false));
  const client = launchDarkly.init("sdk-key", { updateProcessor: data.getFactory(), sendEvents: false, logger: launchDarkly.basicLogger({ level: "none" }) });
  await client.waitForInitialization({ timeout: 10 });
  figures.launchDarklyVersion = JSON.parse(readFileSync(join(process.env.LAUNCHDARKLY_SDK, "node_modules/@launchdarkly/node-server-sdk/package.json"), "utf8")).version;
  figures.launchDarklyEvaluationsPerSecond = await perSecond((n) => client.variation(`flag_${1 + (n % FLAGS)}`, { kind: "user", key: `user${n % 1000}`, country: "DE", age: 33 }, false));
  client.close();
} else {
  console.error("not measured: LaunchDarkly's SDK, because LAUNCHDARKLY_SDK is not set");
}

if (COMMAND !== "") {
  const { default: pg } = await import(pathToFileURL(createRequire(new URL("../../sdk/javascript/package.json", import.meta.url)).resolve("pg")));
  const server = await RealServer.start();
  const folder = mkdtempSync(join(tmpdir(), "flagent-bench-"));
  try {
    const database = new pg.Client(server.database);
    await database.connect();
    await database.query("insert into flags (key, description, enabled, created_at) select 'flag_' || n, 'a flag of the benchmark', true, now() from generate_series(1, $1) n", [FLAGS]);
    const start = async (options) => {
      const [began, cpu] = [performance.now(), cpuMs()];
      const client = new FlagentWebSocketClient({ url: `ws://127.0.0.1:${server.port}/ws` });
      const store = new FlagStore(client, options);
      const readableMs = store.size > 0 ? performance.now() - began : null;
      const readableCpuMs = cpuMs() - cpu;
      await store.ready();
      const readyMs = performance.now() - began;
      const { size } = store;
      client.close();
      return { readableMs, readableCpuMs, readyMs, size };
    };
    let first = await start({});
    while (first.size < FLAGS) first = await start({});
    const persistence = new FilePersistence(folder);
    await start({ persistence });
    await new Promise((resolve) => setTimeout(resolve, 1000));
    const runs = { server: [], cache: [] };
    for (let n = 0; n < ROUNDS; n++) {
      runs.server.push(await start({}));
      runs.cache.push(await start({ persistence }));
    }
    figures.readyFromServerMs = Math.round(median(runs.server.map(({ readyMs }) => readyMs)));
    figures.readableFromCacheMs = Math.round(median(runs.cache.map(({ readableMs }) => readableMs)));
    figures.readableFromCacheCpuMs = Math.round(median(runs.cache.map(({ readableCpuMs }) => readableCpuMs)));
    figures.readyFromCacheMs = Math.round(median(runs.cache.map(({ readyMs }) => readyMs)));
    await database.end();
  } finally {
    await server.stop();
    rmSync(folder, { recursive: true });
  }
}

console.log(JSON.stringify(figures, null, 2));
