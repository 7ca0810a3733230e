// The README's examples are programs: each is run, and prints what its comments state.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { evaluate } from "../dist/core/evaluation.js";
import { StoreCore } from "../dist/core/store-core.js";
import { event, flag, ScriptedServer, transports, until } from "./harness.js";

const PACKAGE = new URL("../", import.meta.url);
const variants = [{ id: 2, flagID: 1, key: "treatment", attachment: null }];
const distributions = [{ id: 4, segmentID: 3, variantID: 2, variantKey: "treatment", percent: 100 }];
const segments = [{ id: 3, flagID: 1, description: null, rank: 0, rolloutPercent: 100, constraints: [], distributions }];
const FLAG = flag(1, "new_payment_flow", { enabled: true, variants, segments, tags: [{ id: 5, value: "payment" }] });

describe("the README", () => {
  let server;
  let isOver = false;
  let hasPrinted = false;
  let folder;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "flagent-readme-"));
    server = await ScriptedServer.start();
    void serve();
  });

  after(async () => {
    isOver = true;
    await server.stop();
    rmSync(folder, { recursive: true });
  });

  /** Sends every client the flag, a moment later a change of it, and the results of evaluations. */
  async function serve() {
    for (;;) {
      const peer = await until(() => isOver || (server.peers[server.taken]?.head && server.peers[server.taken]), "a client", 60_000);
      if (isOver) return;
      const wire = peer.header("upgrade") === null ? transports.SSE : transports.WebSocket;
      const { snapshot, requestId } = await wire.accept(server);
      if (peer.messages[0]?.tables !== undefined) {
        peer.send({ type: "rows", table: "shop.orders", rows: [{ key: { id: 7 }, row: { id: 7, total: 10.5 } }] });
        peer.send({ type: "rows_end", id: "10@k", table: "shop.orders", position: "10", rows: 1 });
        // The example prints the row before it is changed.
        void until(() => isOver || hasPrinted, "the first line", 60_000).then(() => {
          if (!isOver) peer.send({ type: "row_updated", id: "11-0@k", table: "shop.orders", key: { id: 7 }, before: null, after: { id: 7, total: 11 }, changed: ["total"] });
        });
        continue;
      }
      if (snapshot) wire.snapshot(peer, [FLAG], "10@k", requestId);
      setTimeout(() => wire.event(peer, event("flag_updated", "11-0@k", { ...FLAG, notes: "changed", tags: [] })), 100);
      if (wire === transports.WebSocket) void answer(peer);
    }
  }

  async function answer(peer) {
    const store = new StoreCore();
    store.receive({ kind: "snapshot", id: "1@k", position: "1", flags: [FLAG], requestId: null, reason: null, scope: null }, 0);
    const around = { newEntityID: () => "r", timestamp: () => "2026-11-23T08:00:00Z" };
    for (let seen = 0; !peer.isClosed;) {
      const message = peer.messages[seen];
      if (message === undefined) {
        await new Promise((resolve) => setTimeout(resolve, 2));
        continue;
      }
      seen++;
      const { requestId } = message;
      if (message.type === "evaluate") peer.send({ type: "evaluation_result", requestId, position: "10", result: evaluate(store, message, around) });
      if (message.type === "evaluate_batch") {
        const results = message.entities.map((entity) => evaluate(store, { ...entity, flagKey: message.flagKeys[0] }, around));
        peer.send({ type: "evaluation_result", requestId, position: "10", results });
      }
    }
  }

  const text = readFileSync(new URL("README.md", PACKAGE), "utf8");
  const examples = [...text.matchAll(/^## (.+)\n(?:(?!^## )[^])*?^```js\n([^]*?)^```/gm)];
  assert.equal(examples.length, text.split("```js\n").length - 1);
  for (const [, title, source] of examples) {
    test(title, async () => {
      const expected = [...source.matchAll(/\/\/ prints: (.*)$/gm)].map(([, line]) => line);
      const host = `127.0.0.1:${server.port}`;
      const program = source
        .replaceAll('"flagent-cache"', JSON.stringify(join(folder, "cache")))
        .replaceAll("wss://flags.example.com", `ws://${host}`)
        .replaceAll("https://flags.example.com", `http://${host}`)
        // The half second of the README is replaced by the time that a busy machine takes.
        .replace("setTimeout(() => client.close(), 500);", 'process.stdin.on("end", () => client.close()).resume();');
      const child = spawn(process.execPath, ["--input-type=module", "-e", program], { cwd: fileURLToPath(PACKAGE) });
      let output = "";
      hasPrinted = false;
      // A handler prints again with the next change.
      const printed = () => [...new Set(output.trim().split("\n"))].sort();
      const listen = (data) => {
        output += data;
        hasPrinted = true;
        if (expected.every((line) => printed().includes(line))) child.stdin.end();
      };
      child.stdout.on("data", listen);
      child.stderr.on("data", listen);
      const limit = setTimeout(() => child.stdin.end(), 30_000);
      const code = await new Promise((resolve) => child.on("close", resolve));
      clearTimeout(limit);
      assert.deepEqual(printed(), expected.sort());
      assert.equal(code, 0);
    });
  }
});
