/** The life of a connection that may be two-way: it also carries requests, changes of the selection, and pings. */
import { ConnectionSupervisor, type ConnectionSupervisorOptions } from "./connection-supervisor.js";
import type { ConnectionListener } from "./client-connection.js";
import type { Message } from "./core/message.js";
import type { Selection } from "./core/selection.js";
import type { RequestFailed } from "./errors.js";
import type { Fields, PendingRequests } from "./pending-requests.js";

export class DialogueSupervisor extends ConnectionSupervisor {
  /** Null in a client without requests. */
  readonly #requests: PendingRequests | null;
  #isServing = false;
  #failure: Error | null = null;
  /** The beginning of the silence in which a ping was sent. */
  #pingedAt = -1;

  constructor(options: ConnectionSupervisorOptions, listener: ConnectionListener, requests: PendingRequests | null = null) {
    super(options, listener);
    this.#requests = requests;
  }

  override call(fields: Fields, timeoutMs: number): Promise<Fields> {
    if (this.#failure !== null) return Promise.reject(this.#failure);
    const { request, response } = this.#requests!.make(fields, timeoutMs);
    if (this.state === "connected") this.connection?.dialogue?.send(request);
    this.#isServing = true;
    if (this.state === "idle") this.open();
    return response;
  }

  protected override get isServing(): boolean {
    return this.#isServing;
  }

  protected override connected(): void {
    for (const request of this.#requests?.unanswered ?? []) this.connection?.dialogue?.send(request);
  }

  protected override stopped(error: Error): void {
    this.#failure = error;
    this.#requests?.rejectAll(error);
  }

  protected override other(message: Message): void {
    if (message.kind === "response") this.#requests?.resolve(message.requestId, message.body);
  }

  protected override failed(requestId: string | null, error: RequestFailed): void {
    if (requestId === null || !this.#requests?.reject(requestId, error)) super.failed(requestId, error);
  }

  protected override change(selected: Selection, selection: Selection): void {
    const dialogue = this.connection?.dialogue ?? null;
    if (dialogue === null) super.change(selected, selection);
    else this.selected = dialogue.change(selected, selection);
  }

  /** At half of the limit a ping is sent. */
  protected override nextCheck(silentMs: number, limit: number): number {
    const dialogue = this.#pingedAt === this.receivedAt ? null : this.connection?.dialogue ?? null;
    if (dialogue === null) return limit;
    if (silentMs < limit / 2) return limit / 2;
    this.#pingedAt = this.receivedAt;
    dialogue.ping();
    return limit;
  }
}
