// Empties dist/ and compiles src/ into it, so that no file of a former version is published: as ES modules and, in dist/cjs, for
// `require` where it cannot load those (before Node.js 20.19). Copies the project's licence beside it, because npm does not
// pack a link.
import { execFileSync } from "node:child_process";
import { copyFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(fileURLToPath(import.meta.url));
const typescript = dirname(createRequire(import.meta.url).resolve("typescript/package.json"));
const compile = (...options) => execFileSync(process.execPath, [join(typescript, "bin", "tsc"), "--project", root, ...options], { stdio: ["ignore", 2, 2] });

rmSync(join(root, "dist"), { recursive: true, force: true });
copyFileSync(join(root, "../../LICENSE"), join(root, "LICENSE"));
compile();
compile("--outDir", join(root, "dist", "cjs"), "--module", "commonjs", "--moduleResolution", "bundler", "--verbatimModuleSyntax", "false");
writeFileSync(join(root, "dist", "cjs", "package.json"), '{ "type": "commonjs" }\n');
