/** The flag as the server sends it, in Flagent's REST form. Unknown fields are kept and ignored. */

/** A condition of a segment; `operator` is one of Flagent's twelve, `value` a plain string. All constraints of a segment must hold. */
export interface Constraint {
  readonly id: number;
  readonly segmentID: number;
  readonly property: string;
  readonly operator: string;
  readonly value: string;
}

/** A variant's share of a segment, in percent. If `variantKey` is null in the database, `variantID` identifies the variant. */
export interface Distribution {
  readonly id: number;
  readonly segmentID: number;
  readonly variantID: number;
  readonly variantKey: string | null;
  readonly percent: number;
}

/** A rule: which entities it matches (`constraints`), how many of them (`rolloutPercent`, 0 to 100), and their variants. The lowest `rank` is evaluated first. */
export interface Segment {
  readonly id: number;
  readonly flagID: number;
  readonly description: string | null;
  readonly rank: number;
  readonly rolloutPercent: number;
  readonly constraints: readonly Constraint[];
  readonly distributions: readonly Distribution[];
}

/** A value of a flag; `attachment` holds strings only, without quotation marks at their ends. */
export interface Variant {
  readonly id: number;
  readonly flagID: number;
  readonly key: string;
  readonly attachment: Readonly<Record<string, string>> | null;
}

export interface Tag {
  readonly id: number;
  readonly value: string;
}

/** A flag as of one commit. `updatedAt` is the writer's local time without a zone; segments are ordered by rank, variants and tags by id. */
export interface Flag {
  readonly id: number;
  readonly key: string;
  readonly description: string;
  readonly createdBy: string | null;
  readonly updatedBy: string | null;
  readonly enabled: boolean;
  readonly snapshotID: number;
  readonly notes: string | null;
  readonly dataRecordsEnabled: boolean;
  readonly entityType: string | null;
  readonly environmentId: number | null;
  readonly projectId: number | null;
  readonly dependsOn: readonly string[];
  readonly segments: readonly Segment[];
  readonly variants: readonly Variant[];
  readonly tags: readonly Tag[];
  readonly updatedAt: string | null;
  /** True only in the last call of a handler: the flag was deleted. */
  readonly archived: boolean;
  /** The tenant's schema; present only if the server watches several. */
  readonly schema?: string;
  /** The size in bytes of a flag that was sent without its segments, variants and dependencies because of it. */
  readonly tooLarge?: number;
}

/** Whether a decoded JSON value has the two required fields of a flag. */
export function isFlag(value: unknown): value is Flag {
  return typeof value === "object" && value !== null
    && typeof (value as Flag).key === "string" && typeof (value as Flag).id === "number";
}

/** Bookkeeping, which changes without an event, and the schema, which only some snapshots carry. */
export const BOOKKEEPING: ReadonlySet<string> = /* @__PURE__ */ new Set(["snapshotID", "updatedAt", "updatedBy", "schema"]);

/** Whether two flags are the same but for bookkeeping: exactly if their canonical texts are. */
export function isSameFlag(a: unknown, b: unknown, skip: ReadonlySet<string> | null = BOOKKEEPING): boolean {
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return a === b;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const differs = (x: object, y: object) => (key: string) => !skip?.has(key) && !isSameFlag((x as Record<string, unknown>)[key], (y as Record<string, unknown>)[key], null);
  return !Object.keys(a).some(differs(a, b)) && !Object.keys(b).some((key) => !(key in a) && differs(b, a)(key));
}

/** What a handler of flags receives after a deletion: disabled and archived, so that code that checks only `enabled` works. */
export function tombstone(last: Flag): Flag {
  return { ...last, enabled: false, archived: true };
}

export function tagsOf(flag: Flag): string[] {
  return (flag.tags ?? []).map((tag) => tag.value);
}
