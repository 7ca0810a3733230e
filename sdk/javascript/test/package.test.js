// What the package publishes: names, types, files.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

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

test("the package has no run-time dependencies, and its lock file has no URLs", () => {
  const { dependencies, peerDependenciesMeta } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
  assert.equal(dependencies, undefined);
  assert.equal(peerDependenciesMeta["@openfeature/web-sdk"].optional, true);
  assert.doesNotMatch(readFileSync(join(ROOT, "package-lock.json"), "utf8"), /"resolved"|https?:\/\/(?!(www\.)?(github|opencollective|patreon|paypal|buymeacoffee|tidelift))/);
});
