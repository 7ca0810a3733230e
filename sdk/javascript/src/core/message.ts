/** The messages of both transports in one form, so that everything above them is the same for SSE and WebSocket. */
import { MalformedMessage } from "./errors.js";
import { decodeEvent, text, whole, type AnyEvent } from "./event.js";
import { parseExactly, type LongIntegers } from "./exact-json.js";
import { isFlag, type Flag } from "./flag.js";
import type { Selection } from "./selection.js";

type Fields = Readonly<Record<string, unknown>>;

export interface Connected {
  readonly kind: "connected";
  readonly id: string | null;
  readonly position: string | null;
  readonly fresh: boolean | null;
  readonly ageMs: number | null;
  /** The heartbeat interval that the server announces, if it does. */
  readonly heartbeatMs: number | null;
  /** Whether this client resumes; set by the client, never on the wire. */
  readonly resumed: boolean;
  readonly requestId: string | null;
}

export interface SnapshotMessage {
  readonly kind: "snapshot";
  readonly id: string | null;
  readonly position: string;
  readonly flags: readonly Flag[];
  readonly requestId: string | null;
  /** Why a resync replaces the state; null for a requested snapshot. */
  readonly reason: string | null;
  /** The selection that the snapshot is complete for; null = everything that this connection selects. */
  readonly scope: Selection | null;
}

export interface Heartbeat {
  readonly kind: "heartbeat";
  readonly id: string | null;
  readonly position: string | null;
  readonly fresh: boolean | null;
  readonly ageMs: number | null;
  readonly digest: string | null;
}

export interface Events {
  readonly kind: "events";
  readonly events: readonly AnyEvent[];
}

/** The response to a request. (Not `Response`, which is the platform's own.) */
export interface ResponseMessage {
  readonly kind: "response";
  readonly requestId: string;
  readonly body: Fields;
}

export interface ErrorMessage {
  readonly kind: "error";
  readonly code: string;
  readonly message: string;
  readonly requestId: string | null;
}

/** A message without content; it only shows that the connection is alive. */
export interface Ignored {
  readonly kind: "ignored";
}

export type Message = Connected | SnapshotMessage | Heartbeat | Events | ResponseMessage | ErrorMessage | Ignored;

/** The greeting of a server that does not greet. */
export const GREETING: Connected = {
  kind: "connected", id: null, position: null, fresh: null, ageMs: null, heartbeatMs: null, resumed: false, requestId: null,
};

/** Decodes what only a WebSocket brings, besides the messages of every stream: responses to its requests. */
export function decodeDialogue(raw: unknown): Message {
  const { type, requestId } = record(raw);
  if (type !== "unsubscribed" && type !== "pong" && type !== "evaluation_result") return decodeMessage(raw);
  return typeof requestId === "string" ? { kind: "response", requestId, body: record(raw) } : { kind: "ignored" };
}

/** Decodes a message of a stream in the WebSocket's form; raises `MalformedMessage`. */
export function decodeMessage(raw: unknown): Message {
  const fields = record(raw);
  const { type } = fields;
  const requestId = text(fields.requestId);
  switch (type) {
    case "connected":
    case "subscribed":
      return {
        kind: "connected", ...freshness(fields), heartbeatMs: whole(fields.heartbeatMs), resumed: fields.resumed === true, requestId,
      };
    case "snapshot":
      return { ...snapshot(fields, text(fields.id)), requestId };
    case "resync":
      return {
        ...snapshot(record(fields.snapshot), text(fields.id)), reason: text(fields.reason) ?? "unknown", requestId,
      };
    case "heartbeat":
      return { kind: "heartbeat", ...freshness(fields), digest: text(fields.digest) };
    case "batch":
      if (!Array.isArray(fields.events)) throw new MalformedMessage("a batch has no events");
      return { kind: "events", events: fields.events.map((event) => decodeEvent(record(event))) };
    case "error":
      return { kind: "error", code: text(fields.code) ?? "error", message: text(fields.message) ?? "", requestId };
    default:
      return { kind: "events", events: [decodeEvent(fields)] };
  }
}

/** Decodes an event of the event stream, in the form of `envelope=true` or in the bare form. */
export function decodeSseItem(name: string, data: string, lastEventId: string, integers?: LongIntegers): Message {
  const fields = record(parseJson(data, integers));
  const id = lastEventId === "" ? undefined : lastEventId;
  if (name === "connected") return decodeMessage({ ...fields, type: name });
  const isBare = fields.type !== name;
  if (isBare && name === "flag_deleted") {
    return decodeMessage({ type: name, id, flagKey: fields.key ?? fields.flagKey, flagID: typeof fields.id === "number" ? fields.id : fields.flagID });
  }
  if (isBare && name.startsWith("flag_") && isFlag(fields)) return decodeMessage({ type: name, id, flag: fields });
  return decodeMessage({ id, ...fields, type: name });
}

/** Whether this is one of the server's regular heartbeats, not the id alone that follows it in the event stream. */
export function isKeepAlive(heartbeat: Heartbeat): boolean {
  return heartbeat.position !== null;
}

const KEEP_ALIVE = /^keep-alive(?: |$)/;

/** Parses a comment of the event stream; null if it is not a keep-alive. */
export function parseKeepAlive(comment: string): Heartbeat | null {
  if (!KEEP_ALIVE.test(comment)) return null;
  const { position = null, fresh = "", ageMs = "", digest = null } = Object.fromEntries(comment.split(" ").slice(1).map((word) => word.split("=", 2))) as Record<string, string>;
  return {
    kind: "heartbeat", id: null, position, digest,
    fresh: /^(?:true|false)$/.test(fresh) ? fresh === "true" : null,
    ageMs: /^[0-9]+$/.test(ageMs) ? Number(ageMs) : null,
  };
}

export function parseJson(textOfJson: string, integers?: LongIntegers): unknown {
  try {
    return parseExactly(textOfJson, integers);
  } catch (cause) {
    throw new MalformedMessage("a message is not JSON", { cause });
  }
}

function snapshot(fields: Fields, id: string | null): SnapshotMessage {
  const { flags } = fields;
  if (!Array.isArray(flags) || !flags.every(isFlag)) throw new MalformedMessage("a snapshot has no flags");
  return { kind: "snapshot", id, position: text(fields.position) ?? "", flags, requestId: null, reason: null, scope: null };
}

function freshness(fields: Fields) {
  return {
    id: text(fields.id),
    position: text(fields.position),
    fresh: typeof fields.fresh === "boolean" ? fields.fresh : null,
    ageMs: whole(fields.ageMs),
  };
}

function record(value: unknown): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new MalformedMessage("a message is not a JSON object");
  }
  return value as Fields;
}
