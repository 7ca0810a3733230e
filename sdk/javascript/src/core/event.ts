/** The typed events, as the server's event object spells them. */
import { MalformedMessage } from "./errors.js";
import { isFlag, type Distribution, type Flag, type Segment, type Variant } from "./flag.js";

export const EventType = /* @__PURE__ */ Object.freeze({
  FLAG_CREATED: "flag_created",
  FLAG_UPDATED: "flag_updated",
  FLAG_ENABLED: "flag_enabled",
  FLAG_DISABLED: "flag_disabled",
  FLAG_DELETED: "flag_deleted",
  SEGMENT_UPDATED: "segment_updated",
  DISTRIBUTION_UPDATED: "distribution_updated",
  VARIANT_UPDATED: "variant_updated",
  ROW_INSERTED: "row_inserted",
  ROW_UPDATED: "row_updated",
  ROW_DELETED: "row_deleted",
  TABLE_TRUNCATED: "table_truncated",
  SCHEMA_CHANGED: "schema_changed",
  /** Events were lost; `data` holds the state that replaces the former one. Delivered to `onEvent` only. */
  RESYNC: "resync",
  /** A type of a newer server; its name is in `typeName`. */
  UNKNOWN: "",
} as const);

export type EventType = (typeof EventType)[keyof typeof EventType];

/** The fields of every event; null if the server sent none. */
interface EventBase {
  /** The type as the server sent it, also of unknown types. */
  readonly typeName: string;
  /** Grows in commit order; opaque to an application. */
  readonly id: string | null;
  readonly flagKey: string | null;
  readonly flagID: number | null;
  readonly schema: string | null;
  /** ISO-8601 in UTC with microseconds. */
  readonly committedAt: string | null;
  /** The whole flag as of that commit; null after a deletion and for rows of watched tables. */
  readonly flag: Flag | null;
  /** The event object as received, with the fields that this version does not support. */
  readonly raw: Readonly<Record<string, unknown>>;
}

export interface FlagChanged extends EventBase {
  readonly type: "flag_created" | "flag_updated" | "flag_enabled" | "flag_disabled";
  readonly flag: Flag;
  readonly data: Flag;
}

export interface FlagDeleted extends EventBase {
  readonly type: "flag_deleted";
  /** The key of the deleted flag. */
  readonly data: string;
}

export interface SegmentUpdated extends EventBase {
  readonly type: "segment_updated";
  readonly segmentID: number;
  /** Null if the segment was removed. */
  readonly data: Segment | null;
}

export interface DistributionUpdated extends EventBase {
  readonly type: "distribution_updated";
  readonly segmentID: number;
  readonly data: readonly Distribution[];
}

export interface VariantUpdated extends EventBase {
  readonly type: "variant_updated";
  readonly variantID: number;
  /** Null if the variant was removed. */
  readonly data: Variant | null;
}

export interface RowChanged extends EventBase {
  readonly type: "row_inserted" | "row_updated" | "row_deleted" | "table_truncated";
  readonly table: string;
  /** Why the values could not be delivered, such as `too_large`; `before` and `after` are null then. */
  readonly unreadable: string | null;
  /** The event object: `table`, `key`, `before`, `after`, `changed`. */
  readonly data: Readonly<Record<string, unknown>>;
}

export interface SchemaChanged extends EventBase {
  readonly type: "schema_changed";
  readonly table: string;
  /** The event object: `table`, the columns `before` and `after`, and `rewritten`. */
  readonly data: Readonly<Record<string, unknown>>;
}

export interface ResyncEvent extends EventBase {
  readonly type: "resync";
  readonly data: { readonly reason: string; readonly flags: readonly Flag[] };
}

export type FlagentEvent = ResyncEvent | FlagChanged | FlagDeleted | SegmentUpdated | DistributionUpdated | VariantUpdated | RowChanged | SchemaChanged;

/** An event of a type that this version does not support; `data` is the event object. */
export interface UnknownEvent extends EventBase {
  readonly type: "";
  readonly data: Readonly<Record<string, unknown>>;
}

export type AnyEvent = FlagentEvent | UnknownEvent;

type Fields = Readonly<Record<string, unknown>>;

/** Decodes an event object; raises `MalformedMessage` if an event of a known type lacks a required field. */
export function decodeEvent(raw: Fields): AnyEvent {
  if (typeof raw.type !== "string") throw new MalformedMessage("an event has no type");
  if (raw.flag !== undefined && raw.flag !== null && !isFlag(raw.flag)) {
    throw new MalformedMessage(`the flag of a ${raw.type} event is malformed`);
  }
  const flag = isFlag(raw.flag) ? raw.flag : null;
  const base = {
    typeName: raw.type,
    id: text(raw.id),
    flagKey: text(raw.flagKey) ?? flag?.key ?? null,
    flagID: whole(raw.flagID) ?? flag?.id ?? null,
    schema: text(raw.schema) ?? text(flag?.schema),
    committedAt: text(raw.committedAt),
    flag,
    raw,
  };
  switch (raw.type) {
    case "flag_created":
    case "flag_updated":
    case "flag_enabled":
    case "flag_disabled":
      if (flag === null) throw new MalformedMessage(`a ${raw.type} event has no flag`);
      return { ...base, type: raw.type, flag, data: flag };
    case "flag_deleted":
      if (base.flagKey === null) throw new MalformedMessage("a flag_deleted event has no flag key");
      return { ...base, type: raw.type, data: base.flagKey };
    case "segment_updated":
      return { ...base, type: raw.type, segmentID: whole(raw.segmentID) ?? 0, data: (raw.segment ?? null) as Segment | null };
    case "distribution_updated": {
      const data = Array.isArray(raw.distributions) ? (raw.distributions as Distribution[]) : [];
      return { ...base, type: raw.type, segmentID: whole(raw.segmentID) ?? 0, data };
    }
    case "variant_updated":
      return { ...base, type: raw.type, variantID: whole(raw.variantID) ?? 0, data: (raw.variant ?? null) as Variant | null };
    case "row_inserted":
    case "row_updated":
    case "row_deleted":
    case "table_truncated":
      return { ...base, type: raw.type, table: text(raw.table) ?? "", unreadable: text(raw.unreadable), data: raw };
    case "schema_changed":
      return { ...base, type: raw.type, table: text(raw.table) ?? "", data: raw };
    default:
      return { ...base, type: "", data: raw };
  }
}

export function text(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}

export function whole(value: unknown): number | null {
  return typeof value === "number" && Number.isInteger(value) ? value : null;
}
