/** The one-way client: a plain HTTP response that any proxy lets through. */
import { MAX_MESSAGE_LENGTH, RealtimeClient, type ClientOptions } from "./realtime-client.js";
import { defaultFetch, SseTransport, type Fetch } from "./sse-transport.js";
import { checkedUrl } from "./websocket-client.js";

export interface SSEClientOptions extends ClientOptions {
  /** A `fetch` to use instead of the platform's. */
  readonly fetch?: Fetch;
}

/** Live flags and events over one event stream, which is opened when something is subscribed or kept. */
export class FlagentSSEClient extends RealtimeClient {
  constructor(options: SSEClientOptions) {
    const url = checkedUrl(options.url, ["http:", "https:"]);
    super({ ...options, url }, new SseTransport(url, options.fetch ?? defaultFetch, options.maxMessageLength ?? MAX_MESSAGE_LENGTH));
  }
}
