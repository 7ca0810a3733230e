/** What the application has asked for: each subscription with what it selects and whom it tells. */
import type { AnyEvent } from "./core/event.js";
import { tagsOf, tombstone, type Flag } from "./core/flag.js";
import type { Message } from "./core/message.js";
import { Replica, type Change, type Status } from "./core/store-core.js";
import { isEverything, selectsEvent, type Selector } from "./core/selection.js";

/** Ends one subscription. */
export interface Subscription {
  /** Null where it hears what the others bring. */
  readonly selector: Selector | null;
  unsubscribe(): void;
}

/** Hears events as they come; with `selector` null it hears what the other subscriptions bring. */
export class Listener {
  constructor(
    readonly selector: Selector | null,
    readonly handler: unknown,
    readonly deliver: (event: AnyEvent) => void,
  ) {}
}

/** Keeps a copy of what it selects and hears how it changes. */
export class View {
  readonly replica: Replica;
  status: Status = "INITIALIZING";

  constructor(
    readonly selector: Selector,
    readonly handler: unknown,
    /** `moved` holds flags that live on but have left the selection. */
    readonly changed: (changes: readonly Change[], moved: ReadonlyMap<number, Flag>) => void,
    readonly statusChanged: (status: Status) => void = () => undefined,
  ) {
    this.replica = new Replica(selector);
  }

  /** Folds a message in; answers whether a snapshot must be asked for. */
  message(message: Message, now: number): boolean {
    const { changes, request } = this.replica.message(message, now);
    if (changes.length > 0) {
      const moved = new Map<number, Flag>();
      if (message.kind === "events") for (const { flag } of message.events) if (flag !== null) moved.set(flag.id, flag);
      this.changed(changes, moved);
    }
    return request;
  }

  /** Reports a new status. */
  settle(): void {
    const { status } = this.replica;
    if (status === this.status) return;
    this.status = status;
    this.statusChanged(status);
  }
}

/** The flag that a handler of flags receives for a change: as it is, as it left, or as it last was. */
export function presented(change: Change, moved: ReadonlyMap<number, Flag>): Flag {
  return change.flag ?? moved.get(change.before!.id) ?? tombstone(change.before!);
}

/** Decides who hears an event; remembers flags' tags, because a flag that has just lost a tag still concerns those who asked for it. */
export class Router {
  private readonly tags = new Map<number, readonly string[]>();

  snapshot(flags: readonly Flag[]): void {
    for (const flag of flags) this.remember(flag.id, tagsOf(flag));
  }

  route(event: AnyEvent, listeners: Iterable<Listener>): void {
    const former = event.flagID === null ? null : this.tags.get(event.flagID) ?? null;
    const all = [...listeners];
    const chosen = all.filter(({ selector }) => selector === null || selectsEvent(selector, event, former));
    // What came though nobody selects it by what is known of it was selected by a tag that the flag had before.
    const isOrphan = former === null && event.flagKey !== null && !chosen.some(({ selector }) => selector !== null);
    if (isOrphan) {
      chosen.push(...all.filter(({ selector }) => selector?.tags?.length && !isEverything(selector)
        && selectsEvent({ ...selector, tags: [], all: true }, event, null)));
    }
    for (const listener of chosen) listener.deliver(event);
    if (event.flagID === null) return;
    if (event.type === "flag_deleted") this.tags.delete(event.flagID);
    else if (event.flag !== null) this.remember(event.flagID, tagsOf(event.flag));
  }

  private remember(id: number, tags: readonly string[]): void {
    this.tags.set(id, tags);
  }
}
