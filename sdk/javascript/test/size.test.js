// The size of the bundles that users get, and which modules are in them.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const LIMITS = JSON.parse(readFileSync(new URL("size.json", import.meta.url), "utf8"));

async function bundle(contents, options = {}) {
  const { outputFiles, metafile } = await build({
    stdin: { contents, resolveDir: ROOT }, bundle: true, minify: true, format: "esm", platform: "browser", outdir: "/out", write: false, metafile: true, logLevel: "silent", external: ["react"],
    ...options,
  });
  const [file] = outputFiles;
  const modules = Object.entries(Object.values(metafile.outputs)[0].inputs).map(([name, { bytesInOutput }]) => [name.replace(/^.*dist\//, ""), bytesInOutput]);
  return { text: file.text, size: gzipSync(file.contents, { level: 9 }).length, modules: new Map(modules.filter(([, bytes]) => bytes > 0)), metafile };
}

const CLIENT = 'export { FlagentWebSocketClient, FlagStore } from "@flagent/realtime";';

describe("the size of a bundle", () => {
  const cases = {
    FlagentSSEClient: ['export { FlagentSSEClient } from "@flagent/realtime";'],
    "FlagentWebSocketClient and FlagStore": [CLIENT],
    "FlagentClient and FlagStore": ['export { FlagentClient, FlagStore } from "@flagent/realtime";'],
    evaluation: [`${CLIENT} export { LocalEvaluation } from "@flagent/realtime/evaluation";`, CLIENT],
    "react without useVariant": [`${CLIENT} export { FlagentProvider, useFlag, useFlagentStatus } from "@flagent/realtime/react";`, CLIENT],
    share: [`${CLIENT} export { shareTabs } from "@flagent/realtime/share";`, CLIENT],
  };
  for (const [name, [source, without]] of Object.entries(cases)) {
    test(name, async () => {
      const { size, modules } = await bundle(source);
      const own = size - (without === undefined ? 0 : (await bundle(without)).size);
      const largest = [...modules].sort(([, a], [, b]) => b - a).slice(0, 12).map(([module, bytes]) => `${module} ${bytes}`).join(", ");
      assert.ok(own <= LIMITS[name], `${name} has ${own} bytes, the limit is ${LIMITS[name]}. Minified, its largest modules are: ${largest}`);
      assert.ok(own > LIMITS[name] * 0.85, `${name} has only ${own} bytes: lower its limit of ${LIMITS[name]}`);
    });
  }

  test("only who imports evaluation gets it, and Java's regular expressions", async () => {
    const foreign = (modules) => [...modules.keys()].filter((name) => /evaluation|pattern|constraint|charset|boundary|shared-connection|openfeature/.test(name));
    assert.deepEqual(foreign((await bundle(CLIENT)).modules), []);
    assert.ok(foreign((await bundle('export { LocalEvaluation } from "@flagent/realtime/evaluation";')).modules).includes("core/pattern.js"));
  });

  test("an import that nobody uses adds nothing", async () => {
    const { text } = await bundle('import "@flagent/realtime"; import "@flagent/realtime/evaluation"; console.log(1);');
    assert.equal(text.trim(), "console.log(1);");
  });

  test("a bundle for browsers, workers and edge runtimes has no module of Node.js", async () => {
    const all = ["", "/evaluation", "/share"].map((module) => `export * from "@flagent/realtime${module}";`).join("\n");
    for (const conditions of [[], ["worker"], ["workerd", "edge-light"]]) {
      const { text } = await bundle(all, { conditions });
      assert.doesNotMatch(text, /["'`]node:|require\(/);
    }
  });
});
