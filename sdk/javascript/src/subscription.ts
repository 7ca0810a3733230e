/** What the application has subscribed to. */
import type { AnyEvent } from "./core/event.js";
import type { Selection } from "./core/selection.js";

/** A registered handler; `unsubscribe` ends it. */
export interface Subscription {
  /** Null for a handler of `onEvent`, which receives the events of the other subscriptions. */
  readonly selection: Selection | null;
  unsubscribe(): void;
}

/** A handler of events; with `selection` null it receives the events of the other subscriptions. */
export interface EventSubscription {
  readonly selection: Selection | null;
  readonly handler: unknown;
  deliver(event: AnyEvent): void;
}
