/** Feeds a `StoreCore` from a client and reports its changes. */
import type { DigestCheck } from "./core/digest-check.js";
import type { FlagChange } from "./core/flag-table.js";
import type { Flag } from "./core/flag.js";
import type { Message } from "./core/message.js";
import type { Selection } from "./core/selection.js";
import { StoreCore, type StoreStatus } from "./core/store-core.js";

export interface DriverReports {
  /** `moved` holds flags that still exist but have left the selection. */
  changed(changes: readonly FlagChange[], moved: ReadonlyMap<number, Flag>): void;
  status?(status: StoreStatus): void;
  /** The client has given the store a message, or the connection has changed. */
  fed?(): void;
}

export class StoreDriver {
  readonly store: StoreCore;
  readonly #reports: DriverReports;
  #status: StoreStatus = "INITIALIZING";

  constructor(readonly selection: Selection, reports: DriverReports, digestCheck: DigestCheck | null = null) {
    this.#reports = reports;
    this.store = new StoreCore(selection, digestCheck);
  }

  /** Applies a message; returns whether the caller must request a snapshot. */
  receive(message: Message, now: number): boolean {
    const { changes, requestsSnapshot } = this.store.receive(message, now);
    if (changes.length > 0) {
      const moved = new Map<number, Flag>();
      if (message.kind === "events") for (const { flag } of message.events) if (flag !== null) moved.set(flag.id, flag);
      this.#reports.changed(changes, moved);
    }
    return requestsSnapshot;
  }

  /** Reports the status if it has changed. */
  reportStatus(): void {
    const { status } = this.store;
    if (status !== this.#status) {
      this.#status = status;
      this.#reports.status?.(status);
    }
    this.#reports.fed?.();
  }
}
