// Renders the page with the flags of this moment, which it sends along, so that the browser begins with the same. Everything of flagent-cdc is passed on
// to it; in production a proxy does that.
import { createServer, request as forward } from "node:http";
import { connect } from "node:net";
import { createElement as h } from "react";
import { renderToString } from "react-dom/server";
import { build } from "esbuild";
import { fileURLToPath } from "node:url";
import { Page } from "./app.js";

const target = new URL(process.env.FLAGENT_URL ?? "http://127.0.0.1:8080");
const here = fileURLToPath(new URL(".", import.meta.url));
const { outputFiles } = await build({
  entryPoints: [`${here}browser.js`], bundle: true, minify: true, format: "esm", write: false, define: { "process.env.NODE_ENV": '"production"' },
});

/** JSON that may stand in a script element. */
const embedded = (text) => text.replaceAll("<", "\\u003c");

async function page() {
  const response = await fetch(new URL("/api/v1/snapshot", target));
  // Without the server, the page is rendered without flags and gets them in the browser.
  const snapshot = response.ok ? await response.text() : "[]";
  const body = renderToString(h(Page, { bootstrap: JSON.parse(snapshot) }));
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Flags, rendered by a server</title></head><body><div id="root">${body}</div>`
    + `<script id="bootstrap" type="application/json">${embedded(snapshot)}</script><script type="module" src="/browser.js"></script></body></html>`;
}

const server = createServer(async (request, response) => {
  try {
    if (request.url === "/") return response.setHeader("Content-Type", "text/html; charset=utf-8").end(await page());
    if (request.url === "/browser.js") return response.setHeader("Content-Type", "text/javascript").end(outputFiles[0].contents);
    const passed = forward(new URL(request.url, target), { method: request.method, headers: { ...request.headers, host: target.host } }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    passed.on("error", () => response.destroy());
    request.pipe(passed);
  } catch (error) {
    response.writeHead(500).end(error.message);
  }
});

server.on("upgrade", (request, socket, head) => {
  const upstream = connect(target.port, target.hostname);
  const lines = Object.entries({ ...request.headers, host: target.host, origin: target.origin }).map(([name, value]) => `${name}: ${value}\r\n`);
  upstream.write(`GET ${request.url} HTTP/1.1\r\n${lines.join("")}\r\n`);
  upstream.write(head);
  socket.pipe(upstream).pipe(socket);
  socket.on("error", () => upstream.destroy());
  upstream.on("error", () => socket.destroy());
});

server.listen(Number(process.env.PORT ?? 3000), "127.0.0.1", () => console.log(`open http://127.0.0.1:${server.address().port}/`));
