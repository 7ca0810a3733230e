// Empties dist/ and compiles src/ into it, so that no file of a former version is published. Copies the project's licence
// beside it, because npm does not pack a link.
import { execFileSync } from "node:child_process";
import { copyFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(fileURLToPath(import.meta.url));
const typescript = dirname(createRequire(import.meta.url).resolve("typescript/package.json"));
rmSync(join(root, "dist"), { recursive: true, force: true });
copyFileSync(join(root, "../../LICENSE"), join(root, "LICENSE"));
execFileSync(process.execPath, [join(typescript, "bin", "tsc"), "--project", root], { stdio: "inherit" });
