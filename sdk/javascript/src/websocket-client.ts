/** The two-way client: subscriptions that change while connected, and evaluation by the server. */
import { systemClock } from "./clock.js";
import { MAX_MESSAGE_BYTES, type ClientOptions } from "./client-options.js";
import type { BatchRequest, Entity, EvaluationRequest, EvaluationResult } from "./core/evaluation.js";
import { contextTexts, entityText } from "./core/values.js";
import { DialogueSupervisor } from "./dialogue-supervisor.js";
import { endpointUrl, pageUrl } from "./endpoint-url.js";
import { MalformedMessage } from "./errors.js";
import { PendingRequests } from "./pending-requests.js";
import { RealtimeClient } from "./realtime-client.js";
import { defaultSocket } from "./platform-socket.js";
import { standardSocket, type WebSocketClass } from "./standard-socket.js";
import { WebSocketTransport } from "./websocket-transport.js";

export interface WebSocketClientOptions extends ClientOptions {
  /** The standard WebSocket class to use instead of the default. */
  readonly WebSocket?: WebSocketClass;
}

export interface EvaluateOptions {
  /** The maximum wait for the response in milliseconds, including the time without a connection. */
  readonly timeout?: number;
  /** Evaluate a state at this position or later. */
  readonly minPosition?: string;
}

const RESPONSE_TIMEOUT_MS = 5000;

/** Live flags, events and evaluation over one WebSocket. It connects at the first subscription, store or request. */
export class FlagentWebSocketClient extends RealtimeClient {
  constructor(options: WebSocketClientOptions) {
    const url = endpointUrl(options.url, ["ws:", "wss:"], pageUrl()?.replace(/^http/, "ws"));
    const { WebSocket, maxMessageBytes = MAX_MESSAGE_BYTES } = options;
    super({ ...options, url },
      new WebSocketTransport(url, WebSocket === undefined ? defaultSocket(maxMessageBytes) : standardSocket(WebSocket), options.longIntegers),
      (...parts) => new DialogueSupervisor(...parts, new PendingRequests(options.clock ?? systemClock)));
  }

  /** Evaluates one flag on the server. The request waits for a connection; rejects with RequestTimeout or RequestFailed. */
  evaluate(request: EvaluationRequest, options?: EvaluateOptions): Promise<EvaluationResult>;
  evaluate(flagKey: string, entityID: Entity["entityID"], entityContext?: Entity["entityContext"], options?: EvaluateOptions): Promise<EvaluationResult>;
  async evaluate(
    what: EvaluationRequest | string, second?: EvaluateOptions | Entity["entityID"], entityContext?: Entity["entityContext"], third?: EvaluateOptions,
  ): Promise<EvaluationResult> {
    const isPositional = typeof what === "string";
    const request = isPositional ? { flagKey: what, entityID: second as Entity["entityID"], entityContext } : what;
    const { timeout = RESPONSE_TIMEOUT_MS, minPosition } = (isPositional ? third : (second as EvaluateOptions | undefined)) ?? {};
    const body = await this.connection.call!({ type: "evaluate", ...onWire(request), minPosition }, timeout);
    return result<EvaluationResult>(body.result, "result");
  }

  /** Evaluates several flags and entities on the server, in its order: flags by tags, by ids, by keys. */
  async evaluateBatch(request: BatchRequest, options: EvaluateOptions = {}): Promise<EvaluationResult[]> {
    const { timeout = RESPONSE_TIMEOUT_MS, minPosition } = options;
    const body = await this.connection.call!({ type: "evaluate_batch", ...request, entities: request.entities.map(onWire), minPosition }, timeout);
    return result<EvaluationResult[]>(body.results, "results");
  }
}

/** An entity as the server takes it. The server compares the JSON text of a value, as a local evaluation does. */
function onWire<T extends Entity>(entity: T): T {
  const texts = contextTexts(entity.entityContext);
  const values = texts && Object.fromEntries(Object.entries(texts).map(([name, text]) => {
    const value = entity.entityContext![name];
    return [name, typeof value === "bigint" ? text : value];
  }));
  return { ...entity, ...(entity.entityID == null ? {} : { entityID: entityText(entity.entityID) }), ...(values == null ? {} : { entityContext: values }) };
}

function result<T>(value: unknown, name: string): T {
  if (typeof value !== "object" || value === null) throw new MalformedMessage(`the server's response has no ${name}`);
  return value as T;
}
