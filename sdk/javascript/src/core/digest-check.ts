/**
 * Compares a store's digest with the server's, and decides when a snapshot is worth its cost.
 *
 * A snapshot that does not help must not be requested at each heartbeat: after the first, 1, 2, 4 … 64 heartbeats pass
 * between two requests.
 */

import { digestOf } from "./digest.js";
import type { Flag } from "./flag.js";

/** In heartbeats. */
const MAX_SNAPSHOT_PAUSE = 64;
const DIGEST = /^[0-9]+:[0-9a-f]{8}$/;

export class DigestCheck {
  /** Whether the copy is known to differ from the server. */
  differs = false;
  /** Snapshots since the digests last agreed. */
  #repairs = 0;
  /** Heartbeats to ignore before the next request. */
  #pause = 0;

  isReadable(digest: string | null): digest is string {
    return digest !== null && DIGEST.test(digest);
  }

  /** Compares one heartbeat's digest with that of the copy; returns whether to request a snapshot. */
  compare(theirs: string, flags: Iterable<Flag>): boolean {
    if (theirs === digestOf(flags)) {
      this.reset();
      return false;
    }
    this.differs = true;
    if (this.#repairs > 0 && this.#pause > 0) {
      this.#pause--;
      return false;
    }
    return true;
  }

  /** A requested snapshot has replaced the copy. */
  repaired(): void {
    if (!this.differs) return;
    this.#repairs++;
    this.#pause = Math.min(2 ** (this.#repairs - 1), MAX_SNAPSHOT_PAUSE);
    if (this.#repairs === 1) this.differs = false;
  }

  /** The requested snapshot will not arrive: its connection is lost. */
  snapshotLost(): void {
    this.differs = true;
  }

  /** The copy equals the server's, or the server has replaced it. */
  reset(): void {
    this.differs = false;
    this.#repairs = 0;
    this.#pause = 0;
  }
}
