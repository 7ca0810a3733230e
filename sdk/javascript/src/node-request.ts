/** A request of node:http over a separate connection, through the proxy that the environment names. */
import { request as httpRequest, type ClientRequest, type RequestOptions } from "node:http";
import { request as httpsRequest } from "node:https";
import { isIP } from "node:net";
import type { Duplex } from "node:stream";
import { connect as tlsConnect } from "node:tls";
import { proxyFor } from "./core/proxy.js";

type Created = (error: Error | null, socket: Duplex) => void;

/** `isUpgrade`: the connection becomes a WebSocket, which a proxy passes on only through a tunnel. Raises TypeError for an unusable proxy. */
export function nodeRequest(target: URL, options: RequestOptions, isUpgrade: boolean): ClientRequest {
  const request = requestOf(target);
  const proxy = proxyFor(target, process.env);
  if (proxy === null) return request(target, { ...options, agent: false });
  if (target.protocol === "http:" && !isUpgrade) {
    const headers = { ...(options.headers as Record<string, string>), Host: target.host, ...authorization(proxy) };
    return requestOf(proxy)({ ...options, ...address(proxy), path: target.href, headers, agent: false });
  }
  let tunnel: ClientRequest | null = null;
  const createConnection = (_: unknown, created: Created): undefined => { tunnel = openTunnel(proxy, target, created); };
  const proxied = request(target, { ...options, createConnection: createConnection as unknown as NonNullable<RequestOptions["createConnection"]> });
  return proxied.once("close", () => tunnel?.destroy());
}

function openTunnel(proxy: URL, target: URL, created: Created): ClientRequest {
  const host = `${target.hostname}:${target.port || (target.protocol === "https:" ? 443 : 80)}`;
  const failed = (error: Error) => created(error, undefined as unknown as Duplex);
  const tunnel = requestOf(proxy)({ ...address(proxy), method: "CONNECT", path: host, headers: { Host: host, ...authorization(proxy) }, agent: false });
  tunnel.on("error", (error) => failed(new Error(`the proxy ${proxy.host}: ${error.message}`, { cause: error })));
  tunnel.on("connect", (response, socket, head) => {
    if (response.statusCode !== 200) {
      socket.destroy();
      return failed(new Error(`the proxy ${proxy.host} responded with ${response.statusCode} ${response.statusMessage ?? ""}`));
    }
    if (head.length > 0) socket.unshift(head);
    if (target.protocol !== "https:") return created(null, socket);
    const name = target.hostname.replace(/^\[|\]$/g, "");
    const secure = tlsConnect({ socket, ...(isIP(name) === 0 ? { servername: name } : { host: name }) });
    created(null, secure);
  });
  tunnel.end();
  return tunnel;
}

function requestOf(url: URL): typeof httpRequest {
  return url.protocol === "https:" ? (httpsRequest as typeof httpRequest) : httpRequest;
}

function address(proxy: URL): RequestOptions {
  return { protocol: proxy.protocol, host: proxy.hostname.replace(/^\[|\]$/g, ""), port: proxy.port || (proxy.protocol === "https:" ? 443 : 80) };
}

function authorization({ username, password }: URL): Record<string, string> {
  if (username === "") return {};
  const pair = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return { "Proxy-Authorization": `Basic ${Buffer.from(pair).toString("base64")}` };
}
