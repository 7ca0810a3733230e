/** Requests that wait for their answers. */
import type { Clock } from "./clock.js";
import { TimedOut } from "./errors.js";

export type Fields = Readonly<Record<string, unknown>>;

interface Call {
  readonly fields: Fields;
  readonly timer: unknown;
  resolve(body: Fields): void;
  reject(error: Error): void;
}

export class Calls {
  private readonly waiting = new Map<string, Call>();

  constructor(private readonly clock: Clock) {}

  /** What must be sent, in order: asking again costs nothing, so that a request outlives its connection. */
  get unanswered(): Fields[] {
    return [...this.waiting.values()].map(({ fields }) => fields);
  }

  /** Waits for the answer to `fields`; rejects with TimedOut. */
  wait(requestId: string, fields: Fields, timeoutMs: number): Promise<Fields> {
    return new Promise((resolve, reject) => {
      const timer = this.clock.setTimer(() => {
        this.waiting.delete(requestId);
        reject(new TimedOut(`no answer to ${String(fields.type)} within ${timeoutMs} ms`));
      }, timeoutMs);
      this.waiting.set(requestId, { fields, timer, resolve, reject });
    });
  }

  resolve(requestId: string, body: Fields): void {
    this.take(requestId)?.resolve(body);
  }

  /** False where nobody waits for this answer. */
  reject(requestId: string, error: Error): boolean {
    const call = this.take(requestId);
    call?.reject(error);
    return call !== undefined;
  }

  rejectAll(error: Error): void {
    for (const requestId of [...this.waiting.keys()]) this.reject(requestId, error);
  }

  private take(requestId: string): Call | undefined {
    const call = this.waiting.get(requestId);
    if (call === undefined) return undefined;
    this.waiting.delete(requestId);
    this.clock.clearTimer(call.timer);
    return call;
  }
}
