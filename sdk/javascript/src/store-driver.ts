/** Feeds a `StoreCore` from a client and reports its changes and its status. */
import type { ConnectionState } from "./client-connection.js";
import type { Clock } from "./clock.js";
import type { DigestCheck } from "./core/digest-check.js";
import { isBefore, parseEventId } from "./core/event-id.js";
import type { Selection } from "./core/selection.js";
import { StoreCore, type StoreStatus } from "./core/store-core.js";
import { FlagFeed, type ReportChanges } from "./flag-subscription.js";

export interface StoreReports {
  changed: ReportChanges;
  status(status: StoreStatus): void;
  /** The client has given the store a message, or the connection has changed. */
  fed(): void;
}

export class StoreDriver extends FlagFeed<StoreCore> {
  readonly #reports: StoreReports;
  readonly #clock: Clock;
  #status: StoreStatus = "INITIALIZING";
  #staleTimer: unknown = null;

  constructor(selection: Selection, reports: StoreReports, clock: Clock, digestCheck: DigestCheck) {
    super(new StoreCore(selection, digestCheck), reports.changed);
    this.#reports = reports;
    this.#clock = clock;
  }

  override follow(state: ConnectionState): void {
    if (state === "failed") this.fold.clientFailed();
    else if (state === "closed") this.fold.close();
    else super.follow(state);
  }

  /** Reports the status if it has changed, and sets the timer for the next time that time alone will change it. */
  override reportStatus(): void {
    const { status, staleAt } = this.fold;
    if (status !== this.#status) {
      this.#status = status;
      this.#reports.status(status);
    }
    this.#reports.fed();
    if (this.#staleTimer !== null) this.#clock.clearTimer(this.#staleTimer);
    this.#staleTimer = null;
    if (staleAt === null || status === "CLOSED") return;
    this.#staleTimer = this.#clock.setTimer(() => {
      this.fold.tick(this.#clock.now());
      this.reportStatus();
    }, Math.max(staleAt - this.#clock.now(), 0) + 1);
  }

  override resumeAfter(other: string | null | undefined): string | null {
    const { lastEventId } = this.fold;
    const [own, low] = [parseEventId(lastEventId), parseEventId(other ?? null)];
    if (other === null || own === null || (low !== null && low.log !== own.log)) return null;
    return low === null || isBefore(own, low) ? lastEventId : other!;
  }
}
