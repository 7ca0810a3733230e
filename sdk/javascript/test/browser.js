// Real Chromium, and an origin that serves the package and proxies everything else to the server.
import { existsSync, readFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { chromium } from "playwright-core";

export const EXECUTABLE = process.env.CHROMIUM ?? "/usr/bin/chromium";
export const MISSING = existsSync(EXECUTABLE) ? false : `there is no ${EXECUTABLE}; CHROMIUM names another`;

export function launch(more = []) {
  return chromium.launch({
    executablePath: EXECUTABLE,
    args: [
      "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", ...more,
    ],
  });
}

const DIST = new URL("../dist/", import.meta.url);

export class Origin {
  /** Every proxied connection, with the path of its request. */
  passed = [];

  /** Passes connections to the port `target`; `files` are the further ones that it serves: path to type and content. */
  static async start(target, files = {}) {
    const origin = new Origin();
    origin.target = target;
    origin.files = files;
    origin.server = createServer((socket) => origin.accept(socket));
    await new Promise((resolve) => origin.server.listen(0, "127.0.0.1", resolve));
    origin.port = origin.server.address().port;
    return origin;
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  accept(socket) {
    socket.on("error", () => undefined);
    socket.once("data", (data) => {
      const [, path] = /^\S+ (\S+)/.exec(data.toString("latin1"));
      if (this.files[path] !== undefined) return this.answer(socket, ...this.files[path]);
      if (path === "/") return this.answer(socket, "text/html", "<!doctype html><title>flags</title>");
      if (path.startsWith("/moved?")) return socket.end("HTTP/1.1 307 Moved\r\nLocation: /api/v1/events/stream\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
      if (path.startsWith("/sdk/") && /^[\w./-]+$/.test(path) && !path.includes("..")) {
        return this.answer(socket, "text/javascript", readFileSync(new URL(path.slice(5), DIST)));
      }
      if (!path.startsWith("/ws") && !path.startsWith("/api/")) return socket.end("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
      const upstream = connect(this.target, "127.0.0.1");
      const passed = { path, socket, isOpen: true };
      this.passed.push(passed);
      const end = () => {
        passed.isOpen = false;
        socket.destroy();
        upstream.destroy();
      };
      socket.on("close", end);
      upstream.on("close", end).on("error", end);
      upstream.write(data);
      socket.pipe(upstream);
      upstream.pipe(socket);
    });
  }

  answer(socket, type, body) {
    socket.end(Buffer.concat([
      Buffer.from(`HTTP/1.1 200 OK\r\nContent-Type: ${type}\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n`), Buffer.from(body),
    ]));
  }

  open(path) {
    return this.passed.filter((passed) => passed.isOpen && passed.path.startsWith(path)).length;
  }

  disconnect() {
    for (const { socket } of this.passed) socket.destroy();
  }

  async stop() {
    this.disconnect();
    await new Promise((resolve) => this.server.close(resolve));
  }
}
