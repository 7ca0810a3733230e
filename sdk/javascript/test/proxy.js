// A TCP proxy that can disconnect, and fall silent: then it keeps its connections open and forwards nothing.
import { connect, createServer } from "node:net";

export class Proxy {
  pairs = new Set();
  isSilent = false;

  static async start(target) {
    const proxy = new Proxy();
    proxy.target = target;
    proxy.server = createServer((client) => proxy.join(client));
    await new Promise((resolve) => proxy.server.listen(0, "127.0.0.1", resolve));
    proxy.port = proxy.server.address().port;
    return proxy;
  }

  join(client) {
    const upstream = connect(this.target, "127.0.0.1");
    const pair = { client, upstream };
    this.pairs.add(pair);
    const end = () => {
      this.pairs.delete(pair);
      client.destroy();
      upstream.destroy();
    };
    for (const socket of [client, upstream]) socket.on("error", end).on("close", end);
    client.on("data", (data) => { if (!this.isSilent) upstream.write(data); });
    upstream.on("data", (data) => { if (!this.isSilent) client.write(data); });
  }

  /** Ends every connection abruptly. */
  disconnect() {
    for (const { client } of this.pairs) client.destroy();
  }

  async stop() {
    this.disconnect();
    await new Promise((resolve) => this.server.close(resolve));
  }
}
