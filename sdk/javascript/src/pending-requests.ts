/** Requests that wait for their responses. */
import type { Clock } from "./clock.js";
import { RequestTimeout } from "./errors.js";

export type Fields = Readonly<Record<string, unknown>>;

interface PendingRequest {
  readonly fields: Fields;
  readonly timer: unknown;
  resolve(body: Fields): void;
  reject(error: Error): void;
}

export class PendingRequests {
  readonly #requests = new Map<string, PendingRequest>();
  #count = 0;

  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The requests without a response, in order. A new connection sends them again: a request has no side effects, so it may outlive its connection. */
  get unanswered(): Fields[] {
    return [...this.#requests.values()].map(({ fields }) => fields);
  }

  /** A request with an id of its own, and its response, which rejects with RequestTimeout. */
  make(fields: Fields, timeoutMs: number): { request: Fields; response: Promise<Fields> } {
    const requestId = `q${++this.#count}`;
    const request = { ...fields, requestId };
    return { request, response: this.wait(requestId, request, timeoutMs) };
  }

  /** Waits for the response to `fields`; rejects with RequestTimeout. */
  wait(requestId: string, fields: Fields, timeoutMs: number): Promise<Fields> {
    return new Promise((resolve, reject) => {
      const timer = this.#clock.setTimer(() => {
        this.#requests.delete(requestId);
        reject(new RequestTimeout(`no response to ${String(fields.type)} within ${timeoutMs} ms`));
      }, timeoutMs);
      this.#requests.set(requestId, { fields, timer, resolve, reject });
    });
  }

  resolve(requestId: string, body: Fields): void {
    this.#take(requestId)?.resolve(body);
  }

  /** False if no request with this id is pending. */
  reject(requestId: string, error: Error): boolean {
    const request = this.#take(requestId);
    request?.reject(error);
    return request !== undefined;
  }

  rejectAll(error: Error): void {
    for (const requestId of [...this.#requests.keys()]) this.reject(requestId, error);
  }

  #take(requestId: string): PendingRequest | undefined {
    const request = this.#requests.get(requestId);
    if (request === undefined) return undefined;
    this.#requests.delete(requestId);
    this.#clock.clearTimer(request.timer);
    return request;
  }
}
