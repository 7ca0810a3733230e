/**
 * The state machine of a store: a fold of flags, and how far it can be trusted, without clock or socket.
 *
 * Besides what `flag-fold` needs, call `clientFailed` and `close` when the connection reports them, and `tick` whenever the time may have made the
 * copy stale.
 */
import type { DigestCheck } from "./digest-check.js";
import { AmbiguousFlag } from "./errors.js";
import { parseEventId } from "./event-id.js";
import { FlagFold, UNCHANGED, type FoldUpdate } from "./flag-fold.js";
import { FlagTable } from "./flag-table.js";
import type { Flag } from "./flag.js";
import { Liveness } from "./liveness.js";
import { isKeepAlive, type Connected, type Heartbeat, type Message } from "./message.js";
import { isEverything, type Selection } from "./selection.js";
import type { SavedFlags } from "./saved-flags.js";
import { FlagMap, type UnreadFlags } from "./unread-flags.js";

/** How far a copy can be trusted; `FlagStore.status` explains each value. */
export type StoreStatus = "INITIALIZING" | "READY" | "STALE" | "ERROR" | "CLOSED";

/** Where the flags of a store come from. */
export type StoreSource = "cache" | "bootstrap" | "server";

/** Beyond every position of 19 digits that a server can have. */
const UNREACHABLE = 10n ** 19n - 1n;

export class StoreCore extends FlagFold {
  /** Null without flags; `server` once it was ready or replaced by a snapshot. */
  source: StoreSource | null = null;
  #end: "ERROR" | "CLOSED" | null = null;
  #isFresh = true;
  #isSilent = false;
  /** The position to reach after a resume, before the copy is ready. */
  #head: bigint | null = null;
  #now = 0;
  #lastSeenAt: number | null = null;
  readonly #liveness = new Liveness();
  readonly #digestCheck: DigestCheck | null;
  readonly #restore: (flags: UnreadFlags) => void;

  /** `digestCheck`: compares the copy with the server's digests, which a copy of all flags can. */
  constructor(selection?: Selection, digestCheck: DigestCheck | null = null) {
    const [byKey, byId] = [new FlagMap(), new Map<string, string>()];
    super(selection, new FlagTable(byKey, byId));
    this.#restore = (flags) => byKey.fill(flags, byId);
    this.#digestCheck = isEverything(this.selection) ? digestCheck : null;
  }

  /** Begins with flags that the server has not confirmed. Call it before anything else. */
  begin(source: StoreSource, { id, flags, unread }: SavedFlags): void {
    this.source = source;
    this.fill(id, flags);
    this.flags.changes([]);
    if (unread) this.#restore(unread);
    this.awaitedSnapshot = id === null ? "stream" : null;
  }

  get status(): StoreStatus {
    if (this.#end !== null) return this.#end;
    if (!this.isFilled) return "INITIALIZING";
    const isCurrent = this.isConnected && this.#isFresh && !this.#isSilent && this.#hasReached(this.#head);
    return isCurrent && this.awaitedSnapshot === null && !this.#digestCheck?.differs ? "READY" : "STALE";
  }

  get size(): number {
    return this.flags.size;
  }

  /** The flag with this key, or undefined. Raises AmbiguousFlag if several schemas have the key and none is given. */
  get(key: string, schema?: string): Flag | undefined {
    return this.#needsSchema(schema) ? this.#only((flag) => flag.key === key, `the flag ${key}`) : this.flags.get(key, schema);
  }

  /** By id; as `get`. */
  find(id: number | string, schema?: string): Flag | undefined {
    return this.#needsSchema(schema) ? this.#only((flag) => String(flag.id) === String(id), `the flag with the id ${id}`) : this.flags.find(id, schema);
  }

  values(): IterableIterator<Flag> {
    return this.flags.values();
  }

  /** The time (ms) at which silence makes the copy stale; null while no connection is watched. */
  get staleAt(): number | null {
    return this.#lastSeenAt === null || this.#isSilent ? null : this.#lastSeenAt + this.#liveness.silenceLimitMs;
  }

  override receive(message: Message, now: number): FoldUpdate {
    if (this.#end === "CLOSED") return UNCHANGED;
    this.tick(now);
    this.#now = this.#lastSeenAt = now;
    const update = super.receive(message, now);
    if (this.source !== null && this.status === "READY") this.source = "server";
    return update;
  }

  tick(now: number): void {
    const staleAt = this.staleAt;
    if (staleAt !== null && now > staleAt) this.#isSilent = true;
  }

  override connectionLost(): void {
    super.connectionLost();
    this.#lastSeenAt = null;
    this.#liveness.connectionLost();
  }

  clientFailed(): void {
    this.#end ??= "ERROR";
  }

  close(): void {
    this.#end = "CLOSED";
  }

  protected override onConnected(message: Connected): FoldUpdate {
    this.#isSilent = false;
    this.#isFresh = message.fresh !== false;
    this.#liveness.reset(message.heartbeatMs);
    this.#end = null;
    const lacksSnapshot = this.awaitedSnapshot === "requested";
    super.onConnected(message);
    const goesOn = this.awaitedSnapshot === null;
    if (goesOn && lacksSnapshot) this.#digestCheck?.snapshotLost();
    // A server with another log sends a resync.
    this.#head = !goesOn ? null : this.#isOtherLog(message.id) ? UNREACHABLE : toPosition(message.position);
    return UNCHANGED;
  }

  protected override replaced(isResync: boolean, isRepair: boolean): void {
    this.source = "server";
    this.#end = null;
    this.#head = null;
    if (isResync) this.#digestCheck?.reset();
    else if (isRepair) this.#digestCheck?.repaired();
  }

  protected override onHeartbeat(message: Heartbeat): FoldUpdate {
    this.#isSilent = false;
    if (message.fresh !== null) this.#isFresh = message.fresh;
    if (isKeepAlive(message)) this.#liveness.heartbeat(this.#now);
    super.onHeartbeat(message);
    return { changes: [], requestsSnapshot: this.#digestDiffers(message) && this.requestSnapshot() };
  }

  #digestDiffers(message: Heartbeat): boolean {
    const check = this.#digestCheck;
    if (this.lastEventId === null || !check?.isReadable(message.digest) || this.awaitedSnapshot !== null) return false;
    const position = toPosition(message.position);
    const own = parseEventId(this.lastEventId)?.position;
    // In the event stream the id that moves `lastEventId` follows the digest; a digest of the past proves nothing.
    if (position !== null && own !== undefined && position < own) return false;
    return check.compare(message.digest, this.flags.values());
  }

  /** Whether an id shows that the server has another log. */
  #isOtherLog(id: string | null): boolean {
    const [theirs, own] = [id, this.lastEventId].map(parseEventId);
    return theirs != null && own != null && theirs.log !== own.log;
  }

  #hasReached(wanted: bigint | null): boolean {
    const own = wanted === null ? undefined : parseEventId(this.lastEventId)?.position;
    return own === undefined || own >= wanted!;
  }

  #needsSchema(schema: string | undefined): boolean {
    return this.flags.hasSchemas && schema === undefined;
  }

  #only(matches: (flag: Flag) => boolean, what: string): Flag | undefined {
    const found = [...this.values()].filter(matches);
    if (found.length > 1) throw new AmbiguousFlag(what, found.map(({ schema }) => schema ?? ""));
    return found[0];
  }
}

function toPosition(position: string | null): bigint | null {
  return position !== null && /^[0-9]{1,19}$/.test(position) ? BigInt(position) : null;
}
