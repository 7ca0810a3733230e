/** The one-way client: a plain HTTP response, which passes any proxy. */
import { MAX_MESSAGE_BYTES, type ClientOptions } from "./client-options.js";
import { endpointUrl } from "./endpoint-url.js";
import type { Fetch } from "./http-request.js";
import { defaultFetch } from "./platform-fetch.js";
import { RealtimeClient } from "./realtime-client.js";
import { SseTransport } from "./sse-transport.js";

export interface SSEClientOptions extends ClientOptions {
  /** The `fetch` to use instead of the platform's. */
  readonly fetch?: Fetch;
}

/** Live flags and events over one event stream. It connects at the first subscription or store. */
export class FlagentSSEClient extends RealtimeClient {
  constructor(options: SSEClientOptions) {
    const url = endpointUrl(options.url, ["http:", "https:"]);
    super({ ...options, url }, new SseTransport(url, options.fetch ?? defaultFetch, options.maxMessageBytes ?? MAX_MESSAGE_BYTES, options.longIntegers));
  }
}
