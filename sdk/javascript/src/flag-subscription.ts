/** A handler of flags, with a local copy of the flags that it selects. */
import type { FlagChange } from "./core/flag-table.js";
import { tombstone, type Flag } from "./core/flag.js";
import type { Selection } from "./core/selection.js";
import { StoreDriver } from "./store-driver.js";

export class FlagSubscription extends StoreDriver {
  constructor(
    selection: Selection,
    readonly handler: unknown,
    changed: (changes: readonly FlagChange[], moved: ReadonlyMap<number, Flag>) => void,
  ) {
    super(selection, { changed });
  }
}

/** The flag that a handler receives for a change: the present one, the one that left the selection, or the last one, archived. */
export function handledFlag({ before, after }: FlagChange, moved: ReadonlyMap<number, Flag>): Flag {
  return after ?? moved.get(before!.id) ?? tombstone(before!);
}
