/** Feeds a `StoreCore` from a client and reports its changes. */
import type { FlagChange } from "./core/flag-table.js";
import type { Flag } from "./core/flag.js";
import type { Message } from "./core/message.js";
import type { Selection } from "./core/selection.js";
import { StoreCore, type StoreStatus } from "./core/store-core.js";

export class StoreDriver {
  readonly store: StoreCore;
  private status: StoreStatus = "INITIALIZING";

  constructor(
    readonly selection: Selection,
    /** `moved` holds flags that still exist but have left the selection. */
    private readonly changed: (changes: readonly FlagChange[], moved: ReadonlyMap<number, Flag>) => void,
    private readonly statusChanged: (status: StoreStatus) => void = () => undefined,
  ) {
    this.store = new StoreCore(selection);
  }

  /** Applies a message; returns whether the caller must request a snapshot. */
  receive(message: Message, now: number): boolean {
    const { changes, requestsSnapshot } = this.store.receive(message, now);
    if (changes.length > 0) {
      const moved = new Map<number, Flag>();
      if (message.kind === "events") for (const { flag } of message.events) if (flag !== null) moved.set(flag.id, flag);
      this.changed(changes, moved);
    }
    return requestsSnapshot;
  }

  /** Reports the status if it has changed. */
  reportStatus(): void {
    const { status } = this.store;
    if (status === this.status) return;
    this.status = status;
    this.statusChanged(status);
  }
}
