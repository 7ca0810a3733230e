/** A handler of flags, with a local copy of the flags that it selects. */
import type { ConnectionState } from "./client-connection.js";
import { FlagFold } from "./core/flag-fold.js";
import type { FlagChange } from "./core/flag-table.js";
import { tombstone, type Flag } from "./core/flag.js";
import type { Message } from "./core/message.js";
import type { Selection } from "./core/selection.js";

/** `moved` holds flags that still exist but have left the selection. */
export type ReportChanges = (changes: readonly FlagChange[], moved: ReadonlyMap<number, Flag>) => void;

/** Feeds a copy of flags from a client and reports its changes. */
export abstract class FlagFeed<Fold extends FlagFold> {
  readonly #changed: ReportChanges;

  constructor(readonly fold: Fold, changed: ReportChanges) {
    this.#changed = changed;
  }

  get selection(): Selection {
    return this.fold.selection;
  }

  /** Applies a message; returns whether the caller must request a snapshot. */
  receive(message: Message, now: number): boolean {
    const { changes, requestsSnapshot } = this.fold.receive(message, now);
    if (changes.length > 0) {
      const moved = new Map<number, Flag>();
      if (message.kind === "events") for (const { flag } of message.events) if (flag !== null) moved.set(flag.id, flag);
      this.#changed(changes, moved);
    }
    return requestsSnapshot;
  }

  /** The connection has changed. */
  follow(state: ConnectionState): void {
    if (state !== "connected") this.fold.connectionLost();
  }

  /** Reports how far the copy can be trusted, if that has changed. */
  reportStatus(): void {}

  /** The id to resume after where nothing was received yet: the lower one; null if there is none. Only stores begin with flags and have a say. */
  resumeAfter(other: string | null | undefined): string | null | undefined {
    return other;
  }
}

export class FlagSubscription extends FlagFeed<FlagFold> {
  constructor(selection: Selection, readonly handler: unknown, changed: ReportChanges) {
    super(new FlagFold(selection), changed);
  }
}

/** The flag that a handler receives for a change: the present one, the one that left the selection, or the last one, archived. */
export function handledFlag({ before, after }: FlagChange, moved: ReadonlyMap<number, Flag>): Flag {
  return after ?? moved.get(before!.id) ?? tombstone(before!);
}
