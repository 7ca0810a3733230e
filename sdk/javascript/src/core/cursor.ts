/** How far a stream has been read: the id to resume after, and whether an event is a duplicate. */
import { isBefore, parseEventId, type EventId } from "./event-id.js";

/** Ids of unknown form that are kept to recognise exact duplicates. */
const REMEMBERED = 1024;

export class Cursor {
  id: string | undefined;
  #parsed: EventId | null = null;
  readonly #recent = new Set<string>();

  /** Takes an event's id; false if the event has already been delivered and must be dropped. */
  accept(id: string | undefined): boolean {
    if (id === undefined) return true;
    if (this.#recent.has(id)) return false;
    const parsed = parseEventId(id);
    if (this.#covers(parsed)) return false;
    this.#set(id, parsed);
    return true;
  }

  /** Takes the id of a keep-alive: everything up to it has been received. Never goes back within one log. */
  advance(id: string): void {
    const parsed = parseEventId(id);
    if (!this.#covers(parsed)) this.#set(id, parsed);
  }

  /** Takes the id of a snapshot in the stream, also an older one: the events after it follow. */
  replace(id: string | undefined): void {
    this.#recent.clear();
    this.id = undefined;
    this.#parsed = null;
    if (id !== undefined) this.#set(id, parseEventId(id));
  }

  /** Whether an id is at or before this cursor, in the same log. */
  #covers(id: EventId | null): boolean {
    return id !== null && this.#parsed !== null && id.log === this.#parsed.log && !isBefore(this.#parsed, id);
  }

  #set(id: string, parsed: EventId | null): void {
    this.id = id;
    this.#parsed = parsed;
    if (parsed !== null) return;
    this.#recent.add(id);
    if (this.#recent.size > REMEMBERED) this.#recent.delete(this.#recent.values().next().value!);
  }
}
