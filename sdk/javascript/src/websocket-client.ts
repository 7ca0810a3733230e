/** The two-way client: subscriptions that change while connected, and evaluation by the server. */
import { MAX_MESSAGE_LENGTH, RealtimeClient, type ClientOptions } from "./realtime-client.js";
import type { BatchRequest, Entity, EvaluationRequest, EvaluationResult } from "./core/evaluation.js";
import { ConnectionFailed } from "./errors.js";
import { defaultSocket, standardSocket, WebSocketTransport, type WebSocketClass } from "./websocket-transport.js";

export interface WebSocketClientOptions extends ClientOptions {
  /** A standard WebSocket class to use instead of the best one here. */
  readonly WebSocket?: WebSocketClass;
}

export interface EvaluateOptions {
  /** Milliseconds to wait for the answer, the time without connection included. */
  readonly timeout?: number;
  /** Answer only from a state at least as new as this position. */
  readonly minPosition?: string;
}

const ANSWER_MS = 5000;

/** Live flags, events and evaluation over one WebSocket, which is opened when something is subscribed, kept or asked. */
export class FlagentWebSocketClient extends RealtimeClient {
  constructor(options: WebSocketClientOptions) {
    const url = checkedUrl(options.url, ["ws:", "wss:"]);
    const { WebSocket, maxMessageLength = MAX_MESSAGE_LENGTH } = options;
    super({ ...options, url }, new WebSocketTransport(url, WebSocket === undefined ? defaultSocket(maxMessageLength) : standardSocket(WebSocket)));
  }

  /** Asks the server for one flag. Without a connection the request waits for one; rejects with TimedOut or RequestRefused. */
  evaluate(request: EvaluationRequest, options?: EvaluateOptions): Promise<EvaluationResult>;
  evaluate(flagKey: string, entityID: string, entityContext?: Entity["entityContext"], options?: EvaluateOptions): Promise<EvaluationResult>;
  async evaluate(
    what: EvaluationRequest | string, second?: EvaluateOptions | string, entityContext?: Entity["entityContext"], third?: EvaluateOptions,
  ): Promise<EvaluationResult> {
    const isSpelled = typeof what === "string";
    const request = isSpelled ? { flagKey: what, entityID: second as string, entityContext } : what;
    const { timeout = ANSWER_MS, minPosition } = (isSpelled ? third : (second as EvaluateOptions | undefined)) ?? {};
    const body = await this.link.call({ type: "evaluate", ...request, minPosition }, timeout);
    return answered<EvaluationResult>(body.result, "result");
  }

  /** Asks the server for several flags and entities; the answers come in the server's order: by tags, by ids, by keys. */
  async evaluateBatch(request: BatchRequest, options: EvaluateOptions = {}): Promise<EvaluationResult[]> {
    const { timeout = ANSWER_MS, minPosition } = options;
    const body = await this.link.call({ type: "evaluate_batch", ...request, minPosition }, timeout);
    return answered<EvaluationResult[]>(body.results, "results");
  }
}

function answered<T>(value: unknown, name: string): T {
  if (typeof value !== "object" || value === null) throw new ConnectionFailed(`the server's answer has no ${name}`);
  return value as T;
}

/** The address, checked at once; raises TypeError that names what is wrong. */
export function checkedUrl(url: string, protocols: readonly string[]): string {
  const base = typeof location === "undefined" ? undefined : location.href;
  let parsed: URL;
  try {
    parsed = new URL(url, base);
  } catch (cause) {
    throw new TypeError(`url is ${JSON.stringify(url)}; it must be an address such as ${protocols[1]}//host/…`, { cause });
  }
  const isSocket = protocols[0] === "ws:";
  // A page may give a path alone; its own scheme is http.
  if (isSocket && base !== undefined && !/^[a-z]+:/i.test(url)) parsed.protocol = parsed.protocol.replace("http", "ws");
  if (!protocols.includes(parsed.protocol)) {
    throw new TypeError(`url is ${JSON.stringify(url)}; it must begin with ${protocols.join("// or ")}//`);
  }
  return parsed.href;
}
