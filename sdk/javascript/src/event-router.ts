/** Routes events to subscriptions. */
import type { AnyEvent } from "./core/event.js";
import { tagsOf, type Flag } from "./core/flag.js";
import { isEverything, selectsEvent } from "./core/selection.js";
import type { EventSubscription } from "./subscription.js";

/** Remembers each flag's tags, because the event that takes a tag away still belongs to the subscriptions to that tag. */
export class EventRouter {
  readonly #formerTags = new Map<number, readonly string[]>();

  snapshot(flags: readonly Flag[]): void {
    for (const flag of flags) this.#formerTags.set(flag.id, tagsOf(flag));
  }

  /** `isExact`: the server sends only what the subscriptions select. */
  route(event: AnyEvent, subscriptions: Iterable<EventSubscription>, isExact: boolean): void {
    const former = this.#formerTags.get(event.flagID!) ?? null;
    const all = [...subscriptions];
    const chosen = all.filter(({ selection }) => selection === null || selectsEvent(selection, event, former));
    // The server sent the event, but no subscription selects it by what is known of the flag: a former tag selected it.
    const isOrphan = isExact && former === null && event.flagKey !== null && !chosen.some(({ selection }) => selection !== null);
    if (isOrphan) {
      chosen.push(...all.filter(({ selection }) => selection?.tags?.length && !isEverything(selection)
        && selectsEvent({ ...selection, tags: [], all: true }, event, null)));
    }
    for (const subscription of chosen) subscription.deliver(event);
    if (event.flagID === null) return;
    if (event.type === "flag_deleted") this.#formerTags.delete(event.flagID);
    else if (event.flag !== null) this.#formerTags.set(event.flagID, tagsOf(event.flag));
  }
}
