/**
 * Where an event stands in the server's log: `position-index@log`, or `position@log` for a whole commit.
 *
 * An application treats ids as opaque. The client compares them for one purpose: to drop what a resumed stream
 * repeats. Ids of another form still work; then only exact repeats among the latest are recognised.
 */

export interface EventId {
  readonly position: bigint;
  /** Null stands for the whole commit. */
  readonly index: number | null;
  readonly log: string;
}

const FORM = /^(\d{1,19})(?:-(\d{1,9}))?@([a-z0-9]{1,32})$/;

export function parseEventId(text: string): EventId | null {
  const match = FORM.exec(text);
  if (match === null) return null;
  return { position: BigInt(match[1]!), index: match[2] === undefined ? null : Number(match[2]), log: match[3]! };
}

/** Whether `later` tells more than `earlier`; both must be of the same log. */
export function isBefore(earlier: EventId, later: EventId): boolean {
  if (earlier.position !== later.position) return earlier.position < later.position;
  if (earlier.index === null) return false;
  return later.index === null || earlier.index < later.index;
}

const REMEMBERED = 1024;

/** How far a stream has been read: the id to resume after, and whether an id was seen before. */
export class Progress {
  last: string | undefined;
  private parsed: EventId | null = null;
  private readonly recent = new Set<string>();

  /** Takes an event's id; false when the event was already delivered and must be dropped. */
  accept(id: string | undefined): boolean {
    if (id === undefined) return true;
    if (this.recent.has(id)) return false;
    const parsed = parseEventId(id);
    if (parsed !== null && this.parsed !== null && parsed.log === this.parsed.log && !isBefore(this.parsed, parsed)) {
      return false;
    }
    this.set(id, parsed);
    return true;
  }

  /** A keep-alive's id: everything up to it has been seen. Never goes back within one log. */
  advance(id: string): void {
    const parsed = parseEventId(id);
    if (parsed !== null && this.parsed !== null && parsed.log === this.parsed.log && !isBefore(this.parsed, parsed)) return;
    this.set(id, parsed);
  }

  /** A snapshot in the stream: what follows counts from here, even where that is further back. */
  reset(id: string | undefined): void {
    this.recent.clear();
    this.last = undefined;
    this.parsed = null;
    if (id !== undefined) this.set(id, parseEventId(id));
  }

  private set(id: string, parsed: EventId | null): void {
    this.last = id;
    this.parsed = parsed;
    if (parsed !== null) return;
    this.recent.add(id);
    if (this.recent.size > REMEMBERED) this.recent.delete(this.recent.values().next().value!);
  }
}
