// The client that chooses its transport, through real proxies, against the project's server. Each proxy is skipped where it is not installed.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import pg from "pg";
import { FlagentClient, FlagStore } from "../dist/index.js";
import { until } from "./harness.js";
import { MISSING, RealServer } from "./real-server.js";

const isInstalled = (program) => {
  try {
    execFileSync("sh", ["-c", `PATH="$PATH:/usr/sbin" command -v ${program}`]);
    return true;
  } catch {
    return false;
  }
};

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

const nginx = (location) => (port, target, folder) => ({
  program: "nginx", file: "nginx.conf", options: ["-p", folder, "-e", join(folder, "error.log"), "-c", join(folder, "nginx.conf")],
  text: `daemon off; worker_processes 1; pid ${folder}/nginx.pid; error_log ${folder}/error.log;
    events { worker_connections 64; }
    http { access_log off; client_body_temp_path ${folder}/b; proxy_temp_path ${folder}/p; fastcgi_temp_path ${folder}/f; uwsgi_temp_path ${folder}/u; scgi_temp_path ${folder}/s;
      server { listen 127.0.0.1:${port}; location / { proxy_pass http://127.0.0.1:${target}; proxy_set_header Host 127.0.0.1:${target}; ${location} } } }`,
});

const PROXIES = {
  "nginx that refuses upgrades": { make: nginx("proxy_buffering off;"), transport: "sse" },
  "nginx that buffers": { make: nginx("proxy_buffering on; proxy_buffers 8 64k; proxy_ignore_headers X-Accel-Buffering;"), transport: "polling" },
  "HAProxy with a short idle limit": {
    make: (port, target, folder) => ({
      program: "haproxy", file: "haproxy.cfg", options: ["-db", "-q", "-f", join(folder, "haproxy.cfg")],
      text: `defaults\n  mode http\n  timeout connect 5s\n  timeout client 3s\n  timeout server 3s\n  timeout tunnel 3s\nfrontend f\n  bind 127.0.0.1:${port}\n  default_backend b\nbackend b\n  server s 127.0.0.1:${target}\n`,
    }),
    transport: null,
  },
};

describe("through a proxy", { skip: MISSING, timeout: 120_000 }, () => {
  let server;
  let database;
  const children = [];
  const folders = [];

  before(async () => {
    // As configured by default: nothing is sent for half a minute.
    server = await RealServer.start({ FLAGENT_SSE_KEEP_ALIVE: "30s", FLAGENT_WS_PING_INTERVAL: "30s" });
    database = new pg.Client(server.database);
    await database.connect();
    await database.query("insert into flags (key, description, enabled, created_at) values ('a', 'first', false, now())");
  }, { timeout: 60_000 });

  after(async () => {
    for (const child of children) child.kill("SIGKILL");
    await database?.end();
    await server?.stop();
    for (const folder of folders) rmSync(folder, { recursive: true, force: true });
  });

  for (const [name, { make, transport }] of Object.entries(PROXIES)) {
    const { program } = make(1, 1, "");
    test(`${name}: the same program follows changes without a setting`, { skip: isInstalled(program) ? false : `${program} is not installed` }, async () => {
      const folder = mkdtempSync(join(tmpdir(), "flagent-proxy-"));
      folders.push(folder);
      const port = await freePort();
      const { file, text, options } = make(port, server.port, folder);
      writeFileSync(join(folder, file), text);
      children.push(spawn(program, options, { stdio: "ignore", env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` } }));
      await until(() => fetch(`http://127.0.0.1:${port}/healthz`).then(({ status }) => status < 500, () => false), "the proxy");
      const client = new FlagentClient(`http://127.0.0.1:${port}`);
      const errors = [];
      client.onError((error) => errors.push(error.message));
      const store = new FlagStore(client);
      try {
        await store.ready({ timeout: 40_000 });
        const toggle = () => database.query("update flags set enabled = not enabled where key = 'a' returning enabled").then(({ rows }) => rows[0].enabled);
        for (let n = 0; n < 3; n++) {
          const value = await toggle();
          await until(() => store.get("a").enabled === value, `change ${n} by ${client.transport}`);
          // Longer than the idle limit.
          if (transport === null) await new Promise((resolve) => setTimeout(resolve, 3500));
        }
        await until(() => store.status === "READY");
        if (transport !== null) assert.equal(client.transport, transport);
        assert.deepEqual(errors, []);
      } finally {
        client.close();
      }
    });
  }
});
