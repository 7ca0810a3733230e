/**
 * The state machine of a store: folds a stream's messages into a local copy of flags, without clock or socket.
 *
 * Call `receive` for every message in order, `connectionLost`, `clientFailed` and `close` when the connection reports them, and `tick`
 * whenever the time may have made the copy stale. An event at or before `lastEventId` is dropped, so that a repeated
 * message changes nothing. After an update with `requestsSnapshot`, request a snapshot from the server once; events that
 * arrive meanwhile are applied at once, and again on top of the snapshot.
 */
import type { DigestCheck } from "./digest-check.js";
import { isBefore, parseEventId } from "./event-id.js";
import type { AnyEvent } from "./event.js";
import { FlagTable, type FlagChange } from "./flag-table.js";
import type { Flag } from "./flag.js";
import { Liveness } from "./liveness.js";
import { isKeepAlive, type Connected, type Heartbeat, type Message, type SnapshotMessage } from "./message.js";
import { covers, EVERYTHING, isEverything, selectsFlag, type Selection } from "./selection.js";

/** How far a copy can be trusted; `FlagStore.status` explains each value. */
export type StoreStatus = "INITIALIZING" | "READY" | "STALE" | "ERROR" | "CLOSED";

/** Where the flags of a store come from. */
export type StoreSource = "cache" | "bootstrap" | "server";

export interface StoreUpdate {
  /** The difference that the message made: in the order of the old state, then of the new. */
  readonly changes: readonly FlagChange[];
  /** Whether the caller must request a snapshot now. */
  readonly requestsSnapshot: boolean;
}

const UNCHANGED: StoreUpdate = Object.freeze({ changes: [], requestsSnapshot: false });
const MAX_PENDING_EVENTS = 10_000;
/** Beyond every position of 19 digits that a server can have. */
const UNREACHABLE = 10n ** 19n - 1n;

export class StoreCore {
  /** The id up to which the copy is complete; null before the first snapshot. */
  lastEventId: string | null = null;
  /** Null without flags; `server` once it was ready or replaced by a snapshot. */
  source: StoreSource | null = null;
  #state: "initializing" | "filled" | "failed" | "closed" = "initializing";
  readonly #flags = new FlagTable();

  #isConnected = false;
  #isFresh = true;
  #isSilent = false;
  /** The position to reach after a resume, before the copy is ready. */
  #head: bigint | null = null;
  #lastSeenAt: number | null = null;
  readonly #liveness = new Liveness();

  /** "stream": the connection begins with one; "requested": the copy is wrong or incomplete. */
  #awaitedSnapshot: "stream" | "requested" | null = "stream";
  #pendingEvents: AnyEvent[] = [];
  #hasOverflowed = false;
  readonly #digestCheck: DigestCheck | null;

  /** The schema of all flags, where snapshots carry none and events have named it. */
  #onlySchema: string | null = null;

  /** `digestCheck`: compares the copy with the server's digests, which a copy of all flags can. */
  constructor(readonly selection: Selection = EVERYTHING, digestCheck: DigestCheck | null = null) {
    this.#digestCheck = isEverything(selection) ? digestCheck : null;
  }

  /** Begins with flags that the server has not confirmed. Call it before anything else. */
  begin(source: StoreSource, id: string | null, flags: readonly Flag[]): void {
    this.source = source;
    this.lastEventId = id;
    this.#replace(flags);
    this.#flags.changes([]);
    this.#state = "filled";
    this.#awaitedSnapshot = id === null ? "stream" : null;
  }

  /** Whether a connection feeds the store. */
  get isConnected(): boolean {
    return this.#isConnected;
  }

  get status(): StoreStatus {
    switch (this.#state) {
      case "closed": return "CLOSED";
      case "failed": return "ERROR";
      case "initializing": return "INITIALIZING";
      case "filled": {
        const isCurrent = this.#isConnected && this.#isFresh && !this.#isSilent && this.#head === null;
        return isCurrent && this.#awaitedSnapshot === null && !this.#digestCheck?.differs ? "READY" : "STALE";
      }
    }
  }

  get size(): number {
    return this.#flags.size;
  }

  /** The flag with this key, or undefined. Raises AmbiguousFlag if several schemas have the key and none is given. */
  get(key: string, schema?: string): Flag | undefined {
    return this.#flags.get(key, schema);
  }

  /** By id; as `get`. */
  find(id: number | string, schema?: string): Flag | undefined {
    return this.#flags.find(id, schema);
  }

  values(): IterableIterator<Flag> {
    return this.#flags.values();
  }

  /** The time (ms) at which silence makes the copy stale; null while no connection is watched. */
  get staleAt(): number | null {
    return this.#lastSeenAt === null || this.#isSilent ? null : this.#lastSeenAt + this.#liveness.silenceLimitMs;
  }

  receive(message: Message, now: number): StoreUpdate {
    if (this.#state === "closed") return UNCHANGED;
    this.tick(now);
    this.#lastSeenAt = now;
    const update = this.#take(message, now);
    if (this.source !== null && this.status === "READY") this.source = "server";
    return update;
  }

  #take(message: Message, now: number): StoreUpdate {
    switch (message.kind) {
      case "connected": return this.#onConnected(message);
      case "snapshot": return this.#onSnapshot(message);
      case "heartbeat": return this.#onHeartbeat(message, now);
      case "events": return this.#onEvents(message.events);
      case "response":
      case "error":
      case "ignored": return UNCHANGED;
    }
  }

  tick(now: number): void {
    const staleAt = this.staleAt;
    if (staleAt !== null && now > staleAt) this.#isSilent = true;
  }

  connectionLost(): void {
    this.#isConnected = false;
    this.#lastSeenAt = null;
    this.#liveness.connectionLost();
  }

  clientFailed(): void {
    if (this.#state !== "closed") this.#state = "failed";
  }

  close(): void {
    this.#state = "closed";
  }

  #onConnected(message: Connected): StoreUpdate {
    this.#isConnected = true;
    this.#isSilent = false;
    this.#isFresh = message.fresh !== false;
    this.#liveness.reset(message.heartbeatMs);
    if (this.#state === "failed") this.#state = this.lastEventId === null ? "initializing" : "filled";
    if (message.resumed && this.#state === "filled") {
      // The former connection cannot deliver its snapshot any more, and the copy is still wrong: the next digest, or the
      // next event of the kind that caused the request, requests another.
      if (this.#awaitedSnapshot === "requested") {
        this.#awaitedSnapshot = null;
        this.#digestCheck?.snapshotLost();
        this.#pendingEvents = [];
      }
      this.#head = this.#isOtherLog(message.id) ? UNREACHABLE : this.#hasReached(message.position) ? null : toPosition(message.position);
    } else {
      this.#awaitedSnapshot = "stream";
      this.#head = null;
      this.#pendingEvents = [];
    }
    return UNCHANGED;
  }

  #onSnapshot(message: SnapshotMessage): StoreUpdate {
    const isResync = message.reason !== null;
    if (message.scope !== null && !covers(message.scope, this.selection)) return UNCHANGED;
    const order = this.#flags.order();
    const isRepair = this.#awaitedSnapshot === "requested" && !isResync;
    const events = isResync ? [] : this.#pendingEvents;
    this.#replace(message.flags);
    this.source = "server";
    this.lastEventId = message.id;
    this.#state = "filled";
    this.#isConnected = true;
    this.#head = null;
    this.#awaitedSnapshot = null;
    this.#pendingEvents = [];
    this.#onlySchema = null;
    if (isResync) this.#digestCheck?.reset();
    else if (isRepair) this.#digestCheck?.repaired();
    if (this.#hasOverflowed) {
      this.#hasOverflowed = false;
      return { changes: this.#flags.changes(order), requestsSnapshot: this.#requestSnapshot() };
    }
    let requestsSnapshot = false;
    for (const event of events) requestsSnapshot = this.#apply(event) || requestsSnapshot;
    return { changes: this.#flags.changes(order), requestsSnapshot };
  }

  #replace(flags: readonly Flag[]): void {
    this.#flags.replace(flags.filter((flag) => !flag.archived && selectsFlag(this.selection, flag)), this.#onlySchema);
  }

  #onHeartbeat(message: Heartbeat, now: number): StoreUpdate {
    this.#isSilent = false;
    if (message.fresh !== null) this.#isFresh = message.fresh;
    if (isKeepAlive(message)) this.#liveness.heartbeat(now);
    if (this.lastEventId === null) return UNCHANGED;
    if (this.#awaitedSnapshot === null && message.id !== null) this.#advance(message.id);
    this.#checkHead();
    return { changes: [], requestsSnapshot: this.#compareDigest(message) && this.#requestSnapshot() };
  }

  #compareDigest(message: Heartbeat): boolean {
    const check = this.#digestCheck;
    if (!check?.isReadable(message.digest) || this.#awaitedSnapshot !== null) return false;
    const position = toPosition(message.position);
    const own = parseEventId(this.lastEventId!)?.position;
    // In the event stream the id that moves `lastEventId` follows the digest; a digest of the past proves nothing.
    if (position !== null && own !== undefined && position < own) return false;
    return check.compare(message.digest, this.#flags.values());
  }

  /** False if a snapshot is already awaited. */
  #requestSnapshot(): boolean {
    if (this.#awaitedSnapshot !== null) return false;
    this.#awaitedSnapshot = "requested";
    return true;
  }

  #onEvents(events: readonly AnyEvent[]): StoreUpdate {
    const order = events.length > 1 ? this.#flags.order() : [];
    let requestsSnapshot = false;
    for (const event of events) {
      if (this.#awaitedSnapshot !== null) this.#keep(event);
      if (this.#awaitedSnapshot === "stream") continue;
      requestsSnapshot = this.#apply(event) || requestsSnapshot;
    }
    return { changes: this.#flags.changes(order), requestsSnapshot };
  }

  #keep(event: AnyEvent): void {
    if (this.#pendingEvents.length < MAX_PENDING_EVENTS) this.#pendingEvents.push(event);
    else this.#hasOverflowed = true;
  }

  /** Applies one event; returns whether the caller must request a snapshot. */
  #apply(event: AnyEvent): boolean {
    const id = event.id === null ? null : parseEventId(event.id);
    const last = this.lastEventId === null ? null : parseEventId(this.lastEventId);
    if (event.id !== null && event.id === this.lastEventId) return false;
    if (id !== null && last !== null) {
      if (id.log !== last.log) return this.#requestSnapshot();
      if (!isBefore(last, id)) return false;
    }
    if (event.id !== null) this.lastEventId = event.id;
    this.#checkHead();
    if (event.schema !== null && !this.#flags.hasSchemas && event.flagKey !== null) {
      this.#onlySchema ??= event.schema;
      if (event.schema !== this.#onlySchema) {
        if (this.#awaitedSnapshot === null) this.#keep(event);
        return this.#requestSnapshot();
      }
    }
    if (event.type === "flag_deleted") this.#remove(event);
    else if (event.flag !== null) this.#put(this.#flags.hasSchemas ? { ...event.flag, schema: event.schema ?? "" } : event.flag);
    return false;
  }

  #remove({ flagKey, flagID, schema }: AnyEvent): void {
    const flag = flagID === null ? this.#flags.get(flagKey ?? "", schema ?? "") : this.#flags.find(flagID, schema ?? "");
    // Within the same commit the key may have passed to another flag, or the flag to another key.
    if (flag !== undefined && (flagKey === null || flag.key === flagKey)) this.#flags.drop(flag);
  }

  #put(flag: Flag): void {
    if (selectsFlag(this.selection, flag)) return this.#flags.put(flag);
    const former = this.#flags.find(flag.id, flag.schema);
    if (former !== undefined) this.#flags.drop(former);
  }

  #advance(id: string): void {
    const to = parseEventId(id);
    const from = parseEventId(this.lastEventId!);
    if (to !== null && from !== null && (to.log !== from.log || !isBefore(from, to))) return;
    this.lastEventId = id;
  }

  #checkHead(): void {
    if (this.#head !== null && this.#hasReached(String(this.#head))) this.#head = null;
  }

  /** Whether an id shows that the server has another log: a resync follows. */
  #isOtherLog(id: string | null): boolean {
    const [theirs, own] = [id, this.lastEventId].map((text) => (text === null ? null : parseEventId(text)));
    return theirs != null && own != null && theirs.log !== own.log;
  }

  #hasReached(position: string | null): boolean {
    const wanted = toPosition(position);
    const own = this.lastEventId === null ? undefined : parseEventId(this.lastEventId)?.position;
    return wanted === null || own === undefined || own >= wanted;
  }
}

function toPosition(position: string | null): bigint | null {
  return position !== null && /^[0-9]{1,19}$/.test(position) ? BigInt(position) : null;
}
