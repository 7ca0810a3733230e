/**
 * An event id: the place of an event in the server's change log, `position-index@log.hash`, or without the index for a whole
 * commit. The hash is the server's: it tells a commit from another one at the same position.
 *
 * An application treats ids as opaque. The client compares them for one purpose: to drop the duplicates of a resumed
 * stream. Ids of another form still work; then only exact duplicates among the latest ids are recognised.
 */

export interface EventId {
  readonly position: bigint;
  /** Null for the whole commit. */
  readonly index: number | null;
  readonly log: string;
}

const FORMAT = /^(\d{1,19})(?:-(\d{1,9}))?@([a-z0-9]{1,32})(?:\.[a-z0-9]{1,16})?$/;

export function parseEventId(text: string | null): EventId | null {
  const match = text === null ? null : FORMAT.exec(text);
  if (match === null) return null;
  return { position: BigInt(match[1]!), index: match[2] === undefined ? null : Number(match[2]), log: match[3]! };
}

/** Whether `earlier` comes before `later`; both must be of the same log. */
export function isBefore(earlier: EventId, later: EventId): boolean {
  if (earlier.position !== later.position) return earlier.position < later.position;
  if (earlier.index === null) return false;
  return later.index === null || earlier.index < later.index;
}

/** The digits of an id's position; null if there is none, or if the id has another form. */
export function positionOf(id: string | null): string | null {
  return parseEventId(id)?.position.toString() ?? null;
}
