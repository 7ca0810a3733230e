// The proxy of the environment, in Node.js.
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "node:net";
import { afterEach, beforeEach, describe, test } from "node:test";
import { createServer } from "node:tls";
import { proxyFor } from "../dist/core/proxy.js";
import { FlagentSSEClient, FlagentWebSocketClient, FlagStore } from "../dist/index.js";
import { HttpProxy } from "./http-proxy.js";
import { flag, ScriptedServer, transports, until } from "./harness.js";

const HAS_OPENSSL = spawnSync("openssl", ["version"]).status === 0;

test("the proxy of a URL is that of the environment", () => {
  const of = (url, env) => proxyFor(new URL(url), env)?.href ?? null;
  const both = { HTTP_PROXY: "http://one:1", HTTPS_PROXY: "https://two:2/" };
  assert.equal(of("http://h/", both), "http://one:1/");
  assert.equal(of("ws://h/", both), "http://one:1/");
  assert.equal(of("https://h/", both), "https://two:2/");
  assert.equal(of("wss://h/", both), "https://two:2/");
  assert.equal(of("http://h/", {}), null);
  assert.equal(of("http://h/", { HTTPS_PROXY: "x" }), null);
  assert.equal(of("http://h/", { HTTP_PROXY: "upper:1", http_proxy: "lower:1" }), "http://lower:1/");
  assert.equal(of("https://h/", { ALL_PROXY: "all:1" }), "http://all:1/");
  assert.equal(of("http://h/", { HTTP_PROXY: "" }), null);
  assert.equal(of("http://h/", { HTTP_PROXY: "evil:1", REQUEST_METHOD: "GET" }), null);
  for (const value of ["socks5://h:1", "http://", "ftp://h"]) assert.throws(() => of("http://h/", { HTTP_PROXY: value }), /^TypeError: HTTP_PROXY must be/);
  const exempt = (url, list) => of(url, { ALL_PROXY: "all:1", NO_PROXY: list }) === null;
  for (const [url, list] of [
    ["http://localhost:8080/", "localhost"], ["http://a.example.com/", "example.com"], ["http://a.example.com/", ".example.com"], ["http://a.example.com/", "x, *.example.com"],
    ["http://example.com/", ".EXAMPLE.com"], ["http://h:8080/", "h:8080"], ["https://h/", "h:443"], ["http://h/", "*"], ["http://127.0.0.1/", "127.0.0.1"], ["http://[::1]:8080/", "::1"], ["http://[::1]:8080/", "[::1]:8080"],
  ]) assert.ok(exempt(url, list), `${url} ${list}`);
  for (const [url, list] of [["http://notexample.com/", "example.com"], ["http://h:8080/", "h:80"], ["http://h/", ""], ["http://h/", ","], ["http://127.0.0.11/", "127.0.0.1"]]) {
    assert.ok(!exempt(url, list), `${url} ${list}`);
  }
});

for (const [name, Client] of [["WebSocket", FlagentWebSocketClient], ["SSE", FlagentSSEClient]]) {
  describe(`${name} through a proxy`, () => {
    const wire = transports[name];
    const NAMES = ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "NODE_TLS_REJECT_UNAUTHORIZED"];
    const former = Object.fromEntries(NAMES.map((variable) => [variable, process.env[variable]]));
    let server;
    let proxy;
    let client;

    beforeEach(async () => {
      [server, proxy] = await Promise.all([ScriptedServer.start(), HttpProxy.start()]);
      for (const variable of NAMES) delete process.env[variable];
    });

    afterEach(async () => {
      client?.close();
      for (const [variable, value] of Object.entries(former)) if (value === undefined) delete process.env[variable]; else process.env[variable] = value;
      await proxy.stop();
      await server.stop();
    });

    async function ready(url) {
      client = new Client({ url, reconnectConfig: { initialDelay: 1 } });
      const store = new FlagStore(client);
      const { peer, requestId } = await wire.accept(server);
      wire.snapshot(peer, [flag(1, "a")], "10@k", requestId);
      await store.ready({ timeout: 5000 });
    }

    test("a plain connection uses HTTP_PROXY with its credentials (tc-proxy)", async () => {
      process.env.HTTP_PROXY = proxy.url;
      await ready(wire.url(server));
      assert.deepEqual(proxy.seen.map((line) => line.split("?")[0]), [name === "SSE" ? `GET ${wire.url(server)}` : `CONNECT 127.0.0.1:${server.port}`]);
      assert.equal(server.peers[0].header("proxy-authorization"), null);
      client.close();
      await until(() => server.open === 0, "closed");
    });

    test("NO_PROXY exempts (tc-proxy)", async () => {
      Object.assign(process.env, { HTTP_PROXY: proxy.url, NO_PROXY: "127.0.0.1" });
      await ready(wire.url(server));
      assert.deepEqual(proxy.seen, []);
    });

    test("a proxy that refuses, or cannot be used, is named (tc-proxy)", async () => {
      const messages = [];
      for (const [value, expected] of [[proxy.url.replace("user", "other"), name === "SSE" ? /407/ : /the proxy 127.0.0.1:\d+ responded with 407/], ["socks5://x:1", /HTTP_PROXY must be the URL of an HTTP proxy/]]) {
        process.env.HTTP_PROXY = value;
        messages.length = 0;
        client = new Client({ url: wire.url(server), reconnectConfig: { maxAttempts: 1, initialDelay: 1 } });
        client.onState((state, error) => { if (error !== null) messages.push(error.message); });
        client.subscribeAll(() => undefined);
        await until(() => messages.length > 0);
        assert.match(messages[0], expected);
        client.close();
      }
    });

    test("a secure connection is a tunnel through HTTPS_PROXY (tc-proxy)", { skip: HAS_OPENSSL ? false : "there is no openssl" }, async () => {
      const folder = mkdtempSync(join(tmpdir(), "flagent-tls-"));
      const [key, cert] = [join(folder, "key"), join(folder, "cert")];
      execFileSync("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", cert, "-subj", "/CN=localhost", "-days", "1"], { stdio: "ignore" });
      const sockets = new Set();
      const secure = createServer({ key: readFileSync(key), cert: readFileSync(cert) }, (socket) => {
        const upstream = connect(server.port, "127.0.0.1");
        sockets.add(socket);
        for (const one of [socket, upstream]) one.on("error", () => undefined).on("close", () => { socket.destroy(); upstream.destroy(); });
        socket.pipe(upstream).pipe(socket);
      });
      await new Promise((resolve) => secure.listen(0, "127.0.0.1", resolve));
      try {
        Object.assign(process.env, { HTTPS_PROXY: proxy.url, NODE_TLS_REJECT_UNAUTHORIZED: "0" });
        const { port } = secure.address();
        await ready(wire.url(server).replace("://", "s://").replace(`127.0.0.1:${server.port}`, `localhost:${port}`));
        assert.deepEqual(proxy.seen, [`CONNECT localhost:${port}`]);
      } finally {
        client?.close();
        for (const socket of sockets) socket.destroy();
        await new Promise((resolve) => secure.close(resolve));
        rmSync(folder, { recursive: true });
      }
    });
  });
}
