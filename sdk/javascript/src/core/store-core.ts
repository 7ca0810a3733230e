/**
 * A local copy of flags, folded from a stream's messages: a machine without clock or socket.
 *
 * Call `message` for every message in order, `lost`, `failed` and `closed` when the connection says so, and `tick`
 * whenever time may have made the copy stale; each returns what changed and what to do. An event at or before the
 * cursor is dropped, so that repeating a message changes nothing. After an answer with `request`, ask the server for
 * a snapshot once; events that arrive meanwhile are applied and folded again over the snapshot.
 */
import { digest } from "./digest.js";
import type { AnyEvent } from "./event.js";
import { FlagTable, type Change } from "./flag-table.js";
import type { Flag } from "./flag.js";
import { isBeat, type Connected, type Heartbeat, type Message, type Snapshot } from "./message.js";
import { isBefore, parseEventId } from "./event-id.js";
import { covers, EVERYTHING, isEverything, selectsFlag, type Selector } from "./selection.js";

export type { Change } from "./flag-table.js";

/** How far a copy can be trusted; `FlagStore` tells what each means. */
export type Status = "INITIALIZING" | "READY" | "STALE" | "ERROR" | "CLOSED";

export interface Step {
  /** The difference between before and after this step: in the order of the old state, then of the new. */
  readonly changes: readonly Change[];
  /** Whether a snapshot must be asked for now. */
  readonly request: boolean;
}

const NOTHING: Step = Object.freeze({ changes: [], request: false });
const ASSUMED_INTERVAL_MS = 30_000;
const SHORTEST_INTERVAL_MS = 1000;
const SILENT_INTERVALS = 2.5;
const MOST_HELD = 10_000;
const MOST_SKIPPED = 64;
const DIGEST = /^[0-9]+:[0-9a-f]{8}$/;

export class Replica {
  /** The id up to which the state is complete; null before the first snapshot. */
  cursor: string | null = null;
  private state: "initializing" | "filled" | "failed" | "closed" = "initializing";
  private readonly flags = new FlagTable();

  private connected = false;
  private fresh = true;
  private silent = false;
  /** The head to reach after a resume, before the copy may be called ready. */
  private head: bigint | null = null;
  private lastSeenAt: number | null = null;
  private lastHeartbeatAt: number | null = null;
  private intervalMs = ASSUMED_INTERVAL_MS;

  /** "stream": the connection begins with one; "asked": requested because the copy is wrong. */
  private awaited: "stream" | "asked" | null = "stream";
  private held: AnyEvent[] = [];
  private heldTooMuch = false;
  /** Snapshots that came since the last equal digest, heartbeats to let pass, and whether the copy is known to differ. */
  private heals = 0;
  private skip = 0;
  private differs = false;

  /** The schema of all flags, where the server names none in snapshots and events have told. */
  private onlySchema: string | null = null;

  constructor(readonly selection: Selector = EVERYTHING) {}

  get status(): Status {
    switch (this.state) {
      case "closed": return "CLOSED";
      case "failed": return "ERROR";
      case "initializing": return "INITIALIZING";
      case "filled": {
        const isStale = !this.connected || !this.fresh || this.silent || this.awaited !== null || this.differs || this.head !== null;
        return isStale ? "STALE" : "READY";
      }
    }
  }

  get size(): number {
    return this.flags.size;
  }

  /** The live flag, or undefined. Where several schemas have the key and none is named it raises RangeError. */
  get(key: string, schema?: string): Flag | undefined {
    return this.flags.get(key, schema);
  }

  /** By id; as `get`. */
  find(id: number | string, schema?: string): Flag | undefined {
    return this.flags.find(id, schema);
  }

  values(): IterableIterator<Flag> {
    return this.flags.values();
  }

  digest(): string {
    return digest(this.flags.values());
  }

  /** The moment (ms) at which silence makes the copy stale; null when it cannot. */
  get staleAt(): number | null {
    return this.lastSeenAt === null || this.silent ? null : this.lastSeenAt + this.intervalMs * SILENT_INTERVALS;
  }

  message(message: Message, now: number): Step {
    if (this.state === "closed") return NOTHING;
    this.tick(now);
    this.lastSeenAt = now;
    switch (message.kind) {
      case "connected": return this.onConnected(message);
      case "snapshot": return this.onSnapshot(message);
      case "heartbeat": return this.onHeartbeat(message, now);
      case "events": return this.onEvents(message.events);
      case "reply":
      case "problem":
      case "pulse": return NOTHING;
    }
  }

  tick(now: number): void {
    const staleAt = this.staleAt;
    if (staleAt !== null && now > staleAt) this.silent = true;
  }

  lost(): void {
    this.connected = false;
    this.lastSeenAt = null;
    this.lastHeartbeatAt = null;
  }

  failed(): void {
    if (this.state !== "closed") this.state = "failed";
  }

  closed(): void {
    this.state = "closed";
  }

  private onConnected(message: Connected): Step {
    this.connected = true;
    this.silent = false;
    this.fresh = message.fresh !== false;
    this.lastHeartbeatAt = null;
    this.intervalMs = message.heartbeatMs ?? ASSUMED_INTERVAL_MS;
    if (this.state === "failed") this.state = this.cursor === null ? "initializing" : "filled";
    if (message.resumed && this.state === "filled") {
      // A snapshot asked for on the former connection will not come any more.
      // The copy is still wrong: a digest, or the next event of the kind that made us ask, will ask again.
      if (this.awaited === "asked") {
        this.awaited = null;
        this.differs = true;
        this.held = [];
      }
      this.head = this.reached(message.position) ? null : toPosition(message.position);
    } else {
      this.awaited = "stream";
      this.head = null;
      this.held = [];
    }
    return NOTHING;
  }

  private onSnapshot(message: Snapshot): Step {
    const isResync = message.reason !== null;
    if (message.scope !== null && !covers(message.scope, this.selection)) return NOTHING;
    const order = this.flags.order();
    const isHeal = this.awaited === "asked" && !isResync;
    const folded = isResync ? [] : this.held;
    this.flags.replace(message.flags.filter((flag) => !flag.archived && selectsFlag(this.selection, flag)), this.onlySchema);
    this.cursor = message.id;
    this.state = "filled";
    this.connected = true;
    this.head = null;
    this.awaited = null;
    this.held = [];
    this.onlySchema = null;
    if (isResync) this.forgetHeals();
    else if (isHeal && this.differs) {
      this.heals++;
      this.skip = Math.min(2 ** (this.heals - 1), MOST_SKIPPED);
      if (this.heals === 1) this.differs = false;
    }
    if (this.heldTooMuch) {
      this.heldTooMuch = false;
      return { changes: this.flags.changes(order), request: this.ask() };
    }
    let request = false;
    for (const event of folded) request = this.apply(event) || request;
    return { changes: this.flags.changes(order), request };
  }

  private onHeartbeat(message: Heartbeat, now: number): Step {
    this.silent = false;
    if (message.fresh !== null) this.fresh = message.fresh;
    if (isBeat(message)) {
      if (this.lastHeartbeatAt !== null) this.intervalMs = Math.max(now - this.lastHeartbeatAt, SHORTEST_INTERVAL_MS);
      this.lastHeartbeatAt = now;
    }
    if (this.cursor === null) return NOTHING;
    if (this.awaited === null && message.id !== null) this.advance(message.id);
    if (this.head !== null && this.reached(String(this.head))) this.head = null;
    return { changes: [], request: this.compare(message) };
  }

  /** Whether the copy equals the server's; answers whether to ask for a snapshot. */
  private compare(message: Heartbeat): boolean {
    if (message.digest === null || !DIGEST.test(message.digest) || this.awaited !== null) return false;
    if (!isEverything(this.selection)) return false;
    const position = toPosition(message.position);
    const mine = parseEventId(this.cursor!)?.position;
    // In the event stream the id that moves the cursor follows the digest; a digest of the past says nothing.
    if (position !== null && mine !== undefined && position < mine) return false;
    if (message.digest === this.digest()) {
      this.forgetHeals();
      return false;
    }
    this.differs = true;
    if (this.heals > 0 && this.skip > 0) {
      this.skip--;
      return false;
    }
    return this.ask();
  }

  private forgetHeals(): void {
    this.heals = 0;
    this.skip = 0;
    this.differs = false;
  }

  private ask(): boolean {
    if (this.awaited !== null) return false;
    this.awaited = "asked";
    return true;
  }

  private onEvents(events: readonly AnyEvent[]): Step {
    const order = events.length > 1 ? this.flags.order() : [];
    let request = false;
    for (const event of events) {
      if (this.awaited !== null) this.hold(event);
      if (this.awaited === "stream") continue;
      request = this.apply(event) || request;
    }
    return { changes: this.flags.changes(order), request };
  }

  private hold(event: AnyEvent): void {
    if (this.held.length < MOST_HELD) this.held.push(event);
    else this.heldTooMuch = true;
  }

  /** Folds one event in; answers whether a snapshot must be asked for. */
  private apply(event: AnyEvent): boolean {
    const id = event.id === null ? null : parseEventId(event.id);
    const cursor = this.cursor === null ? null : parseEventId(this.cursor);
    if (event.id !== null && event.id === this.cursor) return false;
    if (id !== null && cursor !== null) {
      if (id.log !== cursor.log) return this.ask();
      if (!isBefore(cursor, id)) return false;
    }
    if (event.id !== null) this.cursor = event.id;
    if (this.head !== null && this.reached(String(this.head))) this.head = null;
    if (event.schema !== null && !this.flags.hasSchemas && event.flagKey !== null) {
      this.onlySchema ??= event.schema;
      if (event.schema !== this.onlySchema) {
        if (this.awaited === null) this.hold(event);
        return this.ask();
      }
    }
    if (event.type === "flag_deleted") this.remove(event);
    else if (event.flag !== null) this.put(this.flags.hasSchemas ? { ...event.flag, schema: event.schema ?? "" } : event.flag);
    return false;
  }

  private remove({ flagKey, flagID, schema }: AnyEvent): void {
    const held = flagID === null ? this.flags.get(flagKey ?? "", schema ?? "") : this.flags.find(flagID, schema ?? "");
    // The key may have passed to another flag, or the flag to another key, within the same commit.
    if (held !== undefined && (flagKey === null || held.key === flagKey)) this.flags.drop(held);
  }

  private put(flag: Flag): void {
    if (selectsFlag(this.selection, flag)) return this.flags.put(flag);
    const former = this.flags.find(flag.id, flag.schema);
    if (former !== undefined) this.flags.drop(former);
  }

  private advance(id: string): void {
    const to = parseEventId(id);
    const from = parseEventId(this.cursor!);
    if (to !== null && from !== null && (to.log !== from.log || !isBefore(from, to))) return;
    this.cursor = id;
  }

  private reached(position: string | null): boolean {
    const wanted = toPosition(position);
    const mine = this.cursor === null ? undefined : parseEventId(this.cursor)?.position;
    return wanted === null || mine === undefined || mine >= wanted;
  }
}

function toPosition(position: string | null): bigint | null {
  return position !== null && /^[0-9]{1,19}$/.test(position) ? BigInt(position) : null;
}
