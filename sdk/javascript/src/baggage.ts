/** Carries a store's position between services in the header `baggage` (W3C), so that the next service reads what this one has seen. */
import { isBefore, parseEventId } from "./core/event-id.js";
import type { FlagStore } from "./flag-store.js";

export const BAGGAGE_MEMBER = "flagent-position";
const MAX_LENGTH = 256;
const MAX_HEADER_BYTES = 8192;
const MAX_MEMBERS = 64;
/** What a value must not hold unencoded: `baggage-octet` of the specification, and the percent sign. */
const ENCODED = /[^!#$&-+\--:<-[\]-~]/gu;

/** The position or event id of the header; null if there is none. Unreadable ones are ignored. */
export function readBaggage(header: string | null | undefined): string | null {
  let found: string | null = null;
  for (const value of members(header).map(valueOf)) {
    if (value !== null && (found === null || isLater(value, found))) found = value;
  }
  return found;
}

/** The header with `position` as our member, unless it holds a later one of the same log; other members stay as they are. */
export function writeBaggage(header: string | null | undefined, position: string | null): string | null {
  const all = members(header);
  const others = all.filter((member) => !isOurs(member));
  const former = readBaggage(header);
  const value = position !== null && former !== null && isLater(former, position) ? former : position ?? former;
  const own = value === null ? [] : [`${BAGGAGE_MEMBER}=${value.replace(ENCODED, encodeURIComponent)}`];
  const joined = [...others, ...own].join(",");
  if (others.length + own.length > MAX_MEMBERS || new TextEncoder().encode(joined).length > MAX_HEADER_BYTES) return others.join(",");
  return joined === "" ? null : joined;
}

interface IncomingRequest {
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

/**
 * Middleware for Express and other servers of that kind: waits, at most `timeout` milliseconds (a second by default), until the store has reached the
 * position of the request's baggage. Then the request goes on, also where the store has not reached it.
 */
export function awaitBaggage(store: FlagStore, { timeout = 1000 }: { timeout?: number } = {}) {
  return (request: IncomingRequest, _response: unknown, next: () => void): void => {
    const header = request.headers.baggage;
    const position = readBaggage(Array.isArray(header) ? header.join(",") : header);
    if (position === null) return next();
    store.waitFor(position, { timeout }).then(() => next(), () => next());
  };
}

/** The headers for a request to another service: `baggage` with the later of the store's id and the incoming request's. */
export function baggageHeaders(store: FlagStore, incoming?: IncomingRequest): Record<string, string> {
  const header = incoming?.headers.baggage;
  const baggage = writeBaggage(Array.isArray(header) ? header.join(",") : header, store.lastEventId);
  return baggage === null ? {} : { baggage };
}

function members(header: string | null | undefined): string[] {
  return (header ?? "").split(",").map((member) => member.replace(/^[ \t]+|[ \t]+$/g, "")).filter((member) => member !== "");
}

function isOurs(member: string): boolean {
  return /^([^=;]*?)[ \t]*=/.exec(member)?.[1] === BAGGAGE_MEMBER;
}

function valueOf(member: string): string | null {
  if (!isOurs(member)) return null;
  const text = member.slice(member.indexOf("=") + 1).split(";")[0]!.trim();
  let value: string;
  try {
    value = decodeURIComponent(text);
  } catch {
    return null;
  }
  return [...value].length <= MAX_LENGTH && positionIn(value) !== null ? value : null;
}

const positionIn = (value: string) => {
  const parsed = parseEventId(value);
  if (parsed !== null) return parsed;
  return /^[0-9]{1,19}$/.test(value) ? { position: BigInt(value), index: null, log: "" } : looseId(value);
};

/** An id whose log part has another form than today's. */
function looseId(value: string) {
  const match = /^([0-9]{1,19})(?:-([0-9]{1,9}))?@(.+)$/u.exec(value);
  return match === null ? null : { position: BigInt(match[1]!), index: match[2] === undefined ? null : Number(match[2]), log: match[3]! };
}

function isLater(value: string, than: string): boolean {
  const [a, b] = [positionIn(value), positionIn(than)];
  return a !== null && b !== null && a.log === b.log && isBefore(b, a);
}
