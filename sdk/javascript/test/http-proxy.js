// A forward proxy: absolute URLs and CONNECT, with the credentials `user:p@ss`.
import { createServer, request } from "node:http";
import { connect } from "node:net";

const AUTHORIZATION = `Basic ${Buffer.from("user:p@ss").toString("base64")}`;

export class HttpProxy {
  /** The first lines of the requests, such as `CONNECT host:443`. */
  seen = [];
  sockets = new Set();

  static async start() {
    const proxy = new HttpProxy();
    proxy.server = createServer((incoming, outgoing) => proxy.forward(incoming, outgoing));
    proxy.server.on("connect", (incoming, socket, head) => proxy.tunnel(incoming, socket, head));
    proxy.server.on("connection", (socket) => proxy.sockets.add(socket));
    await new Promise((resolve) => proxy.server.listen(0, "127.0.0.1", resolve));
    proxy.url = `http://user:p%40ss@127.0.0.1:${proxy.server.address().port}`;
    return proxy;
  }

  accepts({ method, url, headers }) {
    this.seen.push(`${method} ${url}`);
    return headers["proxy-authorization"] === AUTHORIZATION;
  }

  forward(incoming, outgoing) {
    if (!this.accepts(incoming)) return outgoing.writeHead(407).end();
    const { "proxy-authorization": _, ...headers } = incoming.headers;
    const upstream = request(incoming.url, { method: incoming.method, headers, agent: false }, (response) => {
      outgoing.writeHead(response.statusCode, response.headers);
      response.pipe(outgoing);
    });
    upstream.on("error", () => outgoing.destroy());
    outgoing.on("close", () => upstream.destroy());
    upstream.end();
  }

  tunnel(incoming, socket, head) {
    if (!this.accepts(incoming)) return socket.end("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
    const [, host, port] = /^(.*):([0-9]+)$/.exec(incoming.url);
    const upstream = connect(Number(port), host, () => {
      socket.write("HTTP/1.1 200 Connection Established\r\n\r\n");
      upstream.write(head);
      upstream.pipe(socket).pipe(upstream);
    });
    for (const one of [socket, upstream]) one.on("error", () => undefined).on("close", () => { socket.destroy(); upstream.destroy(); });
  }

  async stop() {
    for (const socket of this.sockets) socket.destroy();
    await new Promise((resolve) => this.server.close(resolve));
  }
}
