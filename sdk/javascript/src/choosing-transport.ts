/** The WebSocket, the event stream and polling as one transport, which uses the best that the network lets through. */
import type { Clock } from "./clock.js";
import { statusOutcome } from "./core/policy.js";
import { QUERY_LIMITS } from "./core/query-limits.js";
import { addWeights, NO_WEIGHT } from "./core/selection-limits.js";
import { MESSAGE_LIMITS } from "./core/selection-messages.js";
import { TransportChoice, type EndInput, type Step, type TransportName } from "./core/transport-choice.js";
import { ConnectionLost, FlagentError } from "./errors.js";
import { isNode } from "./platform.js";
import { connectionFailure, type Connection, type ConnectionFailure, type ConnectionRequest, type ConnectionSink, type Transport } from "./transport.js";

export interface ChoosingOptions {
  readonly transports: Readonly<Record<TransportName, Transport>>;
  readonly clock: Clock;
  readonly connectMs: number;
  readonly retryBetterAfterMs: number;
}

/** Errors of Node.js that mean that there was no connection. */
const NO_CONNECTION = /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|EHOSTUNREACH|EHOSTDOWN|ENETUNREACH|ENETDOWN|EADDRNOTAVAIL|EPROTO|ERR_TLS_.*|ERR_SSL_.*|CERT_.*|.*_CERT.*|.*_SIGNATURE)$/;
/** In browsers a refused WebSocket says as little as a forbidden one: where one has worked, it is tried this often before the next transport. */
const BLIND_TRIES = 3;

export class ChoosingTransport implements Transport {
  readonly limits = MESSAGE_LIMITS;
  readonly #options: ChoosingOptions;
  readonly #choice: TransportChoice;
  #request: ConnectionRequest | null = null;
  #sink: ConnectionSink | null = null;
  #current: Connection | null = null;
  #timer: unknown = null;
  #stopProbe: () => void = () => undefined;
  #hasWorked = false;
  #blindFailures = 0;
  #isLimitReported = false;

  constructor(options: ChoosingOptions) {
    this.#options = options;
    this.#choice = new TransportChoice(options.retryBetterAfterMs);
  }

  get name(): TransportName {
    return this.#choice.transport;
  }

  open(request: ConnectionRequest, sink: ConnectionSink): Connection {
    const { transport } = this.#choice;
    let hasMessage = false;
    this.#request = request;
    this.#sink = sink;
    const inner = this.#options.transports[transport].open(request, {
      ...sink,
      message: (message) => {
        if (!hasMessage) {
          hasMessage = true;
          if (transport === "websocket") this.#hasWorked = true;
          this.#blindFailures = 0;
          this.#choice.step("firstMessage", this.#options.clock.now());
          this.#watch();
        }
        sink.message(message);
      },
    });
    this.#current = inner;
    return {
      dialogue: inner.dialogue,
      requestSnapshot: (selection, selected) => inner.requestSnapshot(selection, selected),
      close: () => {
        if (this.#current === inner) this.#leave();
        inner.close();
      },
    };
  }

  judge(failure: ConnectionFailure, end: "unanswered" | "connected" | "silent"): ConnectionFailure {
    const input = this.#inputOf(failure, end);
    if (input === null) return failure;
    const step = this.#choice.step(this.#isConfined(input) ? "refused" : input, this.#options.clock.now());
    return { ...failure, outcome: step.do === "connect" ? "again" : "retry" };
  }

  /** What an end says about the transport; null where it is fatal on each of them. */
  #inputOf({ error, outcome, isUnauthorized }: ConnectionFailure, end: "unanswered" | "connected" | "silent"): EndInput | null {
    const { status = null, closeCode = null, cause } = error instanceof ConnectionLost ? error : {} as Partial<ConnectionLost>;
    if (end === "silent" || cause === "silent") return "silent";
    if (isUnauthorized || status === 403 || closeCode === 4403) return null;
    if (status !== null && status !== 200) {
      if (status !== 501 && status !== 505 && statusOutcome(status) === "retry") return "unavailable";
      return outcome === "fatal" && this.#choice.transport === "polling" ? null : "failed";
    }
    if (outcome === "fatal" && closeCode !== null) return null;
    if (outcome === "fatal") return "failed";
    if (end === "connected") return "lost";
    return this.#isRefused(cause) ? "refused" : "failed";
  }

  #isRefused(cause: unknown): boolean {
    const { code } = (cause ?? {}) as { code?: unknown };
    if (typeof code === "string") return NO_CONNECTION.test(code);
    // Several addresses, of which none answered.
    if (cause instanceof AggregateError) return cause.errors.every((error) => this.#isRefused(error));
    if (isNode()) return false;
    if (this.#choice.transport !== "websocket") return true;
    return this.#hasWorked && ++this.#blindFailures < BLIND_TRIES;
  }

  /** Whether the next transport cannot carry the selection, so that this one must stay; reported once. */
  #isConfined(input: EndInput): boolean {
    const { next } = this.#choice;
    if (next === null || input === "refused" || this.#canCarry(next)) return false;
    if (!this.#isLimitReported) {
      this.#isLimitReported = true;
      this.#sink?.malformed(new FlagentError(`the selection is too large for the transport ${next}, so the client stays with ${this.#choice.transport}; select less, or everything`));
    }
    return true;
  }

  #canCarry(name: TransportName): boolean {
    const selection = this.#request?.selection ?? null;
    if (name === "websocket" || selection === null) return true;
    const hasTables = Boolean(selection.tables?.length);
    return QUERY_LIMITS.refusal(addWeights(NO_WEIGHT, QUERY_LIMITS.weigh(selection))) === null && !(hasTables && name === "polling");
  }

  /** Sets the timer for the next trial of a better transport. */
  #watch(): void {
    const { clock } = this.#options;
    this.#clearTimer();
    const { probeAt } = this.#choice;
    if (probeAt === null) return;
    this.#timer = clock.setTimer(() => this.#follow(this.#choice.step("tick", clock.now())), Math.max(probeAt - clock.now(), 0) + 1);
  }

  #follow(step: Step): void {
    if (step.do === "probe") return this.#probe(step.probe!);
    if (step.do === "switch") {
      const error = new ConnectionLost(`the transport ${this.#choice.transport} works again`);
      return this.#sink?.ended(connectionFailure(error, "again"));
    }
    this.#watch();
  }

  /** Tries a transport beside the connection that works, without its snapshot. */
  #probe(name: TransportName): void {
    const { clock, transports, connectMs } = this.#options;
    const request = this.#request!;
    const isCarried = this.#canCarry(name);
    let connection: Connection | null = null;
    let isOver = false;
    const stop = () => {
      isOver = true;
      clock.clearTimer(timer);
      connection?.close();
    };
    const ended = (works: boolean) => {
      if (isOver) return;
      stop();
      this.#stopProbe = () => undefined;
      this.#follow(this.#choice.step(works ? "probeWorked" : "probeFailed", clock.now()));
    };
    const timer = clock.setTimer(() => ended(false), isCarried ? connectMs : 0);
    this.#stopProbe = stop;
    if (!isCarried) return;
    const nothing = () => undefined;
    const selection = name === "websocket" ? null : request.selection;
    const opened = transports[name].open({ selection, lastEventId: null, snapshot: false, apiKey: request.apiKey }, {
      received: nothing, retry: nothing, malformed: nothing, snapshotFailed: nothing, message: () => ended(true), ended: () => ended(false),
    });
    if (isOver) opened.close();
    else connection = opened;
  }

  #leave(): void {
    this.#current = null;
    this.#clearTimer();
    this.#stopProbe();
    this.#stopProbe = () => undefined;
  }

  #clearTimer(): void {
    if (this.#timer !== null) this.#options.clock.clearTimer(this.#timer);
    this.#timer = null;
  }
}
