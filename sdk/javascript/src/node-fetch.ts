/**
 * `fetch` for an endless response, over node:http with a separate connection. Node's built-in fetch keeps a pool: after
 * an abort it opens a new idle connection, which stays for four seconds, and it fails when a response pauses.
 */
import { Readable } from "node:stream";
import { nodeRequest } from "./node-request.js";

const WITHOUT_BODY = new Set([204, 205, 304]);

/** Uses `headers` and `signal` of `init`. Never follows redirects. */
export function nodeFetch(url: string, init: RequestInit): Promise<Response> {
  return new Promise((resolve, reject) => {
    const headers = init.headers as Record<string, string>;
    const request = nodeRequest(new URL(url), { headers, signal: init.signal ?? undefined }, false);
    request.on("error", reject);
    request.on("response", (response) => {
      const pairs = Object.entries(response.headers).flatMap(([name, value]) => (value === undefined ? [] : [[name, String(value)] as [string, string]]));
      const status = response.statusCode ?? 0;
      const body = WITHOUT_BODY.has(status) ? null : (Readable.toWeb(response) as ReadableStream<Uint8Array>);
      if (body === null) response.resume();
      resolve(new Response(body, { status, headers: pairs }));
    });
    request.end();
  });
}
