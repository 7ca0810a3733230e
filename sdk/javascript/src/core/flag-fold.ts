/**
 * Folds a stream's messages into a local copy of flags, without clock or socket. A subscription to flags needs no more; `store-core` adds how far
 * the copy can be trusted.
 *
 * Call `receive` for every message in order, and `connectionLost` when the connection reports it. An event at or before `lastEventId` is dropped, so
 * that a repeated message changes nothing. After an update with `requestsSnapshot`, request a snapshot from the server once; events that arrive
 * meanwhile are applied at once, and again on top of the snapshot.
 */
import { isBefore, parseEventId } from "./event-id.js";
import type { AnyEvent } from "./event.js";
import { FlagTable, type FlagChange } from "./flag-table.js";
import type { Flag } from "./flag.js";
import type { Connected, Heartbeat, Message, SnapshotMessage } from "./message.js";
import { covers, EVERYTHING, selectsFlag, type Selection } from "./selection.js";

export interface FoldUpdate {
  /** The difference that the message made: in the order of the old state, then of the new. */
  readonly changes: readonly FlagChange[];
  /** Whether the caller must request a snapshot now. */
  readonly requestsSnapshot: boolean;
}

export const UNCHANGED: FoldUpdate = { changes: [], requestsSnapshot: false };
const MAX_PENDING_EVENTS = 10_000;

export class FlagFold {
  /** The id up to which the copy is complete; null before the first snapshot. */
  lastEventId: string | null = null;
  /** Whether a connection feeds the copy. */
  isConnected = false;
  /** Whether there was a snapshot. */
  protected isFilled = false;
  /** "stream": the connection begins with one; "requested": the copy is wrong or incomplete. */
  protected awaitedSnapshot: "stream" | "requested" | null = "stream";
  #pendingEvents: AnyEvent[] = [];
  #hasOverflowed = false;
  /** The schema of all flags, where snapshots carry none and events have named it. */
  #onlySchema: string | null = null;

  constructor(readonly selection: Selection = EVERYTHING, protected readonly flags = new FlagTable()) {}

  receive(message: Message, _now: number): FoldUpdate {
    switch (message.kind) {
      case "connected": return this.onConnected(message);
      case "snapshot": return this.#onSnapshot(message);
      case "heartbeat": return this.onHeartbeat(message);
      case "events": return this.#onEvents(message.events);
      default: return UNCHANGED;
    }
  }

  connectionLost(): void {
    this.isConnected = false;
  }

  protected onConnected(message: Connected): FoldUpdate {
    this.isConnected = true;
    const goesOn = message.resumed && this.isFilled;
    // The former connection cannot deliver its snapshot any more, and the copy is still wrong: the next digest, or the
    // next event of the kind that caused the request, requests another.
    if (!goesOn || this.awaitedSnapshot === "requested") this.#pendingEvents = [];
    this.awaitedSnapshot = goesOn ? null : "stream";
    return UNCHANGED;
  }

  /** A snapshot has replaced the copy. */
  protected replaced(_isResync: boolean, _isRepair: boolean): void {}

  #onSnapshot(message: SnapshotMessage): FoldUpdate {
    const isResync = message.reason !== null;
    if (message.scope !== null && !covers(message.scope, this.selection)) return UNCHANGED;
    const order = this.flags.order();
    const isRepair = this.awaitedSnapshot === "requested" && !isResync;
    const events = isResync || this.#hasOverflowed ? [] : this.#pendingEvents;
    this.fill(message.id, message.flags);
    this.isConnected = true;
    this.awaitedSnapshot = null;
    this.#pendingEvents = [];
    this.#onlySchema = null;
    this.replaced(isResync, isRepair);
    let requestsSnapshot = this.#hasOverflowed && this.requestSnapshot();
    this.#hasOverflowed = false;
    for (const event of events) requestsSnapshot = this.#apply(event) || requestsSnapshot;
    return { changes: this.flags.changes(order), requestsSnapshot };
  }

  protected fill(id: string | null, flags: readonly Flag[]): void {
    this.flags.replace(flags.filter((flag) => !flag.archived && selectsFlag(this.selection, flag)), this.#onlySchema);
    this.lastEventId = id;
    this.isFilled = true;
  }

  protected onHeartbeat({ id }: Heartbeat): FoldUpdate {
    if (this.lastEventId !== null && this.awaitedSnapshot === null && id !== null) this.#advance(id);
    return UNCHANGED;
  }

  /** False if a snapshot is already awaited. */
  protected requestSnapshot(): boolean {
    if (this.awaitedSnapshot !== null) return false;
    this.awaitedSnapshot = "requested";
    return true;
  }

  #onEvents(events: readonly AnyEvent[]): FoldUpdate {
    const order = events.length > 1 ? this.flags.order() : [];
    let requestsSnapshot = false;
    for (const event of events) {
      if (this.awaitedSnapshot !== null) this.#keep(event);
      if (this.awaitedSnapshot === "stream") continue;
      requestsSnapshot = this.#apply(event) || requestsSnapshot;
    }
    return { changes: this.flags.changes(order), requestsSnapshot };
  }

  #keep(event: AnyEvent): void {
    if (this.#pendingEvents.length < MAX_PENDING_EVENTS) this.#pendingEvents.push(event);
    else this.#hasOverflowed = true;
  }

  /** Applies one event; returns whether the caller must request a snapshot. */
  #apply(event: AnyEvent): boolean {
    const id = parseEventId(event.id);
    const last = parseEventId(this.lastEventId);
    if (event.id !== null && event.id === this.lastEventId) return false;
    if (id !== null && last !== null) {
      if (id.log !== last.log) return this.requestSnapshot();
      if (!isBefore(last, id)) return false;
    }
    if (event.id !== null) this.lastEventId = event.id;
    if (event.schema !== null && !this.flags.hasSchemas && event.flagKey !== null) {
      this.#onlySchema ??= event.schema;
      if (event.schema !== this.#onlySchema) {
        if (this.awaitedSnapshot === null) this.#keep(event);
        return this.requestSnapshot();
      }
    }
    if (event.type === "flag_deleted") this.#remove(event);
    else if (event.flag !== null) this.#put(this.flags.hasSchemas ? { ...event.flag, schema: event.schema ?? "" } : event.flag);
    return false;
  }

  #remove({ flagKey, flagID, schema }: AnyEvent): void {
    const flag = flagID === null ? this.flags.get(flagKey ?? "", schema) : this.flags.find(flagID, schema);
    // Within the same commit the key may have passed to another flag, or the flag to another key.
    if (flag !== undefined && (flagKey === null || flag.key === flagKey)) this.flags.drop(flag);
  }

  #put(flag: Flag): void {
    if (selectsFlag(this.selection, flag)) return this.flags.put(flag);
    const former = this.flags.find(flag.id, flag.schema);
    if (former !== undefined) this.flags.drop(former);
  }

  #advance(id: string): void {
    const to = parseEventId(id);
    const from = parseEventId(this.lastEventId);
    if (to !== null && from !== null && (to.log !== from.log || !isBefore(from, to))) return;
    this.lastEventId = id;
  }
}
