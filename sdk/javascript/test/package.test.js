// What the package publishes: names, types, files.
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { createContext, runInContext } from "node:vm";
import { build } from "esbuild";

const ROOT = fileURLToPath(new URL("../", import.meta.url));

test("the public names are these", async () => {
  assert.deepEqual(Object.keys(await import("@flagent/realtime")).sort(), [
    "AmbiguousFlag", "ClientClosed", "ConnectionLost", "ConnectionRefused", "EventType", "FlagStore", "FlagentClient", "FlagentError", "FlagentSSEClient", "FlagentWebSocketClient",
    "MalformedMessage", "MessageTooLarge", "NotReady", "ReconnectConfig", "ReconnectExhausted", "ReducedFlag", "RequestFailed", "RequestTimeout", "SavedFlagsIgnored",
  ].sort());
  const modules = {
    baggage: ["BAGGAGE_MEMBER", "awaitBaggage", "baggageHeaders", "readBaggage", "writeBaggage"], exposures: ["ExposureReporter"], "table-store": ["TableStore"], "file-persistence": ["FilePersistence", "SavedFlagsIgnored"],
    persistence: ["IndexedDbPersistence", "LocalStoragePersistence", "SavedFlagsIgnored"], evaluation: ["LocalEvaluation"], openfeature: ["FlagentProvider"], "openfeature-server": ["FlagentProvider"], react: ["FlagentProvider", "useFlag", "useFlagStore", "useFlagentStatus", "useTable", "useVariant"], share: ["shareTabs"],
  };
  for (const [name, names] of Object.entries(modules)) assert.deepEqual(Object.keys(await import(`@flagent/realtime/${name}`)).sort(), names.sort(), name);
});

test("the types compile in a strict program", () => {
  const folder = mkdtempSync(join(ROOT, "dist", "types-"));
  try {
    writeFileSync(join(folder, "program.ts"), `
      import { LocalEvaluation } from "@flagent/realtime/evaluation";
      import { EventType, FlagentSSEClient, FlagentWebSocketClient, FlagStore, type AnyEvent, type Flag } from "@flagent/realtime";
      const client = new FlagentWebSocketClient({ url: "wss://host/ws", apiKey: async () => "k", reconnectConfig: { maxAttempts: 0 } });
      client.subscribe("a", (flag) => { const key: string = flag.key; void key; });
      client.subscribe({ tags: ["t"] }, (event) => { const type: string = event.type; void type; });
      client.subscribeTags(["t"], (flags) => { const list: Flag[] = flags; void list; });
      client.subscribeAll((event: AnyEvent) => {
        if (event.type === EventType.FLAG_DELETED) { const key: string = event.data; void key; }
        else if (event.type === "flag_enabled") { const flag: Flag = event.flag; void flag; }
        else if (event.type === EventType.SEGMENT_UPDATED) void [event.segmentID, event.data?.rank];
        else { const name: string = event.type; void name; }
      });
      const result = await client.evaluate("a", "user", { n: 1, s: "x", b: true });
      const variant: string | null = result.variantKey;
      const store = new FlagStore(new FlagentSSEClient({ url: "https://host/" }), { flags: ["a"] });
      for (const flag of store) void flag.segments[0]?.constraints;
      void [variant, new LocalEvaluation(store).evaluate({ flagKey: "a", entityID: "u" }).segmentID];
      // @ts-expect-error a flag is read-only
      store.get("a")!.enabled = true;
      // @ts-expect-error a handler must be a function
      client.subscribeAll("x");
      // @ts-expect-error internal members are not declared
      client.dispatch(() => undefined);
    `);
    // The examples of the README are strict TypeScript as well.
    const examples = [...readFileSync(join(ROOT, "README.md"), "utf8").matchAll(/^```js\n(.*?)^```$/gms)].map(([, code], n) => {
      writeFileSync(join(folder, `readme${n}.ts`), code);
      return `readme${n}.ts`;
    });
    assert.equal(examples.length, 6);
    const config = { compilerOptions: { target: "ES2022", module: "NodeNext", moduleResolution: "NodeNext", strict: true, noEmit: true, lib: ["ES2023", "DOM"], types: [], skipLibCheck: false }, files: ["program.ts", ...examples] };
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(config));
    const compiler = join(dirname(createRequire(import.meta.url).resolve("typescript/package.json")), "bin", "tsc");
    execFileSync(process.execPath, [compiler, "--project", folder], { encoding: "utf8" });
  } catch (error) {
    assert.fail(error.stdout ?? error);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("the types of every module resolve with each moduleResolution", () => {
  const folder = mkdtempSync(join(tmpdir(), "flagent-types-"));
  try {
    mkdirSync(join(folder, "node_modules", "@flagent"), { recursive: true });
    symlinkSync(ROOT, join(folder, "node_modules", "@flagent", "realtime"));
    const { exports } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
    const modules = Object.keys(exports).filter((name) => name !== "./package.json").map((name) => `@flagent/realtime${name.slice(1)}`);
    const program = modules.map((name, n) => `import * as m${n} from "${name}";`).join("\n")
      + `\nconst all: object[] = [${modules.map((_, n) => `m${n}`)}]; void all;\nconst wrong: number = m0.FlagStore; void wrong;\n`;
    for (const name of ["program.ts", "program.cts", "program.mts"]) writeFileSync(join(folder, name), program);
    const compile = (compiler, options, file) => {
      const { compilerOptions, files } = { compilerOptions: { target: "ES2022", strict: true, noEmit: true, lib: ["ES2023", "DOM", "DOM.Iterable"], types: [], skipLibCheck: true, preserveSymlinks: false, ...options }, files: [file] };
      writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions, files }));
      const bin = join(dirname(createRequire(import.meta.url).resolve(`${compiler}/package.json`)), "bin", "tsc");
      try {
        execFileSync(process.execPath, [bin, "--project", folder], { encoding: "utf8" });
        return "";
      } catch ({ stdout }) {
        return stdout;
      }
    };
    const cases = [
      ["typescript-5", { module: "commonjs", moduleResolution: "node10" }, "program.ts"], ["typescript-5", { module: "node16", moduleResolution: "node16" }, "program.cts"],
      ["typescript", { module: "esnext", moduleResolution: "bundler" }, "program.ts"], ["typescript", { module: "nodenext", moduleResolution: "nodenext" }, "program.mts"],
      ["typescript", { module: "nodenext", moduleResolution: "nodenext" }, "program.cts"],
    ];
    for (const [compiler, options, file] of cases) {
      const errors = compile(compiler, options, file).trim().split("\n");
      // The one error shows that the types were found: without them everything would be accepted.
      assert.deepEqual(errors.map((line) => /error (TS\d+)/.exec(line)?.[1] ?? line), ["TS2322"], `${JSON.stringify(options)}\n${errors.join("\n")}`);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("Jest with fake timers, by require: no open handle is left", () => {
  const folder = mkdtempSync(join(tmpdir(), "flagent-jest-"));
  try {
    mkdirSync(join(folder, "node_modules", "@flagent"), { recursive: true });
    symlinkSync(ROOT, join(folder, "node_modules", "@flagent", "realtime"));
    writeFileSync(join(folder, "package.json"), JSON.stringify({ jest: { testEnvironment: "node" } }));
    writeFileSync(join(folder, "flags.test.js"), `
      const { createServer } = require("node:net");
      const { FlagentClient, FlagentSSEClient, FlagentWebSocketClient, FlagStore } = require("@flagent/realtime");
      const { LocalEvaluation } = require("@flagent/realtime/evaluation");
      let server;
      beforeAll((done) => { server = createServer((socket) => socket.resume().on("error", () => undefined)).listen(0, "127.0.0.1", done); });
      afterAll((done) => { server.close(done); });
      test("a store that begins with a bootstrap", async () => {
        jest.useFakeTimers();
        const host = "127.0.0.1:" + server.address().port;
        const clients = [new FlagentClient("http://" + host), new FlagentWebSocketClient({ url: "ws://" + host }), new FlagentSSEClient({ url: "http://" + host })];
        for (const client of clients) {
          client.onError(() => undefined);
          const store = new FlagStore(client, { bootstrap: [{ id: 1, key: "a", enabled: true }] });
          expect([store.status, new LocalEvaluation(store).evaluate("a", "u").flagID]).toEqual(["STALE", 1]);
          const ready = expect(store.ready({ timeout: 1000 })).rejects.toThrow("after 1000 ms");
          await jest.advanceTimersByTimeAsync(1000);
          await ready;
        }
        await jest.advanceTimersByTimeAsync(30_000);
        for (const client of clients) client.close();
        expect(jest.getTimerCount()).toBe(0);
        jest.useRealTimers();
      });
    `);
    const jest = join(ROOT, "node_modules", "jest", "bin", "jest.js");
    const { status, stdout, stderr } = spawnSync(process.execPath, [jest, "--detectOpenHandles", "--rootDir", folder], { cwd: folder, encoding: "utf8", timeout: 120_000, env: { ...process.env, NODE_OPTIONS: "" } });
    assert.equal(status, 0, stdout + stderr);
    assert.doesNotMatch(stdout + stderr, /open handle|did not exit/i);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("a bundle runs in a worker, which has the web's interfaces and nothing of Node.js", async () => {
  const { outputFiles } = await build({
    stdin: { contents: 'export * from "@flagent/realtime"; export * from "@flagent/realtime/evaluation"; export * from "@flagent/realtime/exposures"; export * from "@flagent/realtime/table-store";', resolveDir: ROOT },
    bundle: true, format: "iife", globalName: "sdk", platform: "browser", conditions: ["workerd", "worker"], write: false,
  });
  // While a worker is loaded, it may neither make random values nor set timers.
  let isLoading = true;
  const refused = (name, act) => (...values) => {
    assert.ok(!isLoading, `${name} while the worker is loaded`);
    return act(...values);
  };
  const sockets = [];
  class FakeSocket {
    readyState = 0;
    constructor(url) { sockets.push(url); }
    close() {}
  }
  const world = createContext({
    URL, URLSearchParams, TextEncoder, TextDecoder, AbortController, console, performance, WebSocket: FakeSocket, btoa, queueMicrotask, clearTimeout,
    setTimeout: refused("setTimeout", setTimeout), fetch: refused("fetch", () => Promise.reject(new TypeError("no network"))), crypto: { getRandomValues: refused("random", (list) => crypto.getRandomValues(list)) },
  });
  runInContext("Math.random = ((random) => () => { if (globalThis.isLoading) throw new Error('random while loading'); return random(); })(Math.random); globalThis.isLoading = true;", world);
  runInContext(`${outputFiles[0].text}; globalThis.sdk = sdk; globalThis.isLoading = false;`, world);
  isLoading = false;
  const found = await runInContext(`(async () => {
    const client = new sdk.FlagentClient("https://flags.example", { apiKey: "k" });
    const store = new sdk.FlagStore(client, { bootstrap: [{ id: 1, key: "a", enabled: true, segments: [], variants: [], tags: [] }] });
    await null; await null;
    const { flagID } = new sdk.LocalEvaluation(store).evaluate("a", "u");
    client.close();
    return flagID + " " + store.status;
  })()`, world);
  assert.equal(found, "1 CLOSED");
  assert.deepEqual(sockets, ["wss://flags.example/ws"]);
});

test("the package contains its licence, types and no sources", () => {
  const [{ files }] = JSON.parse(execFileSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts", "--silent"], { cwd: ROOT, encoding: "utf8" }));
  const names = files.map(({ path }) => path).filter((path) => !path.startsWith("dist/types-"));
  for (const name of ["LICENSE", "README.md", "dist/index.js", "dist/index.d.ts", "dist/openfeature.js"]) assert.ok(names.includes(name), name);
  assert.deepEqual(names.filter((name) => !/^(dist\/.*\.(js|d\.ts)|dist\/cjs\/package\.json|LICENSE|README\.md|package\.json)$/.test(name)), []);
});

test("npm pack builds what it packs, and the package works by import and by require", () => {
  const folder = mkdtempSync(join(tmpdir(), "flagent-pack-"));
  try {
    const source = join(folder, "repository", "sdk", "javascript");
    mkdirSync(source, { recursive: true });
    copyFileSync(join(ROOT, "../../LICENSE"), join(folder, "repository", "LICENSE"));
    for (const name of ["src", "build.js", "package.json", "tsconfig.json", "README.md"]) cpSync(join(ROOT, name), join(source, name), { recursive: true });
    symlinkSync(join(ROOT, "node_modules"), join(source, "node_modules"));
    const [{ filename, files }] = JSON.parse(execFileSync("npm", ["pack", "--json", "--silent", "--pack-destination", folder], { cwd: source, encoding: "utf8" }));
    for (const name of ["dist/index.js", "dist/index.d.ts", "dist/cjs/index.js", "dist/cjs/index.d.ts"]) assert.ok(files.some(({ path }) => path === name), name);
    const installed = join(folder, "node_modules", "@flagent", "realtime");
    mkdirSync(installed, { recursive: true });
    execFileSync("tar", ["-xzf", join(folder, filename), "--strip-components=1", "-C", installed]);
    symlinkSync(join(ROOT, "node_modules", "@openfeature"), join(folder, "node_modules", "@openfeature"));
    const run = (...options) => execFileSync(process.execPath, options, { cwd: folder, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
    const use = 'new FlagentWebSocketClient({ url: "ws://127.0.0.1:1/" }).subscribeAll(() => undefined); console.log(FlagStore.name, FlagentProvider.name); process.exit(0);';
    const required = `const { FlagentWebSocketClient, FlagStore } = require("@flagent/realtime"); const { FlagentProvider } = require("@flagent/realtime/openfeature"); ${use}`;
    const imported = `import { FlagentWebSocketClient, FlagStore } from "@flagent/realtime"; import { FlagentProvider } from "@flagent/realtime/openfeature"; ${use}`;
    assert.equal(run("--input-type=module", "-e", imported), "FlagStore FlagentProvider\n");
    assert.equal(run("-e", required), "FlagStore FlagentProvider\n");
    // As in Node.js before 20.19, and in Jest.
    if (process.allowedNodeEnvironmentFlags.has("--experimental-require-module")) {
      assert.equal(run("--no-experimental-require-module", "-e", required), "FlagStore FlagentProvider\n");
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("the lock file names every package that another one needs", () => {
  // `npm install` leaves out an optional package that the registry does not have, and `npm ci` refuses the result.
  const { packages } = JSON.parse(readFileSync(join(ROOT, "package-lock.json"), "utf8"));
  const names = new Set(Object.keys(packages).map((path) => path.replace(/^.*node_modules\//, "")));
  const missing = Object.entries(packages).flatMap(([path, { dependencies = {}, optionalDependencies = {} }]) =>
    Object.keys({ ...dependencies, ...optionalDependencies }).filter((name) => !names.has(name)).map((name) => `${path}: ${name}`));
  assert.deepEqual(missing, []);
});

test("the package has no run-time dependencies, and its lock file has no URLs", () => {
  const { dependencies, peerDependenciesMeta } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
  assert.equal(dependencies, undefined);
  assert.equal(peerDependenciesMeta["@openfeature/web-sdk"].optional, true);
  assert.doesNotMatch(readFileSync(join(ROOT, "package-lock.json"), "utf8"), /"resolved"|https?:\/\/(?!(www\.)?(github|opencollective|patreon|paypal|buymeacoffee|tidelift))/);
});
