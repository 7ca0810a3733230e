/** What a response means for the connection: stream, redirect, retry or fatal. */
import { MAX_RETRY_AFTER_MS } from "./backoff.js";

export type Outcome = "stream" | "redirect" | "retry" | "fatal";

const RETRIED = new Set([408, 425, 429]);
const REDIRECTS = new Set([301, 302, 303, 307, 308]);

/** Errors that need an operator are fatal: a retry does not fix a wrong key or URL. */
export function statusOutcome(status: number): Outcome {
  if (status === 200) return "stream";
  if (REDIRECTS.has(status)) return "redirect";
  return status >= 500 || RETRIED.has(status) ? "retry" : "fatal";
}

/** Codes 4400–4499 are 4000 plus an HTTP status; 3000 and 3003 are IANA's Unauthorized and Forbidden. */
export function closeCodeOutcome(code: number): "retry" | "fatal" {
  if (code >= 4400 && code <= 4499) return statusOutcome(code - 4000) === "retry" ? "retry" : "fatal";
  return code === 1010 || code === 3000 || code === 3003 ? "fatal" : "retry";
}

/** Whether a status or close code means that the credential was rejected. */
export function isUnauthorized(code: number): boolean {
  return code === 401 || code === 4401 || code === 3000;
}

export function isEventStream(contentType: string): boolean {
  return contentType.split(";")[0]!.trim().toLowerCase() === "text/event-stream";
}

const HTTP_DATE = /^[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT$/;

/** The header's value in milliseconds, at most one hour; null if it cannot be parsed. */
export function parseRetryAfter(value: string, now: number): number | null {
  const trimmed = value.trim();
  const ms = /^[0-9]+$/.test(trimmed) ? Number(trimmed) * 1000 : HTTP_DATE.test(trimmed) ? Date.parse(trimmed) - now : NaN;
  return Number.isNaN(ms) ? null : Math.min(Math.max(ms, 0), MAX_RETRY_AFTER_MS);
}

export const MAX_REDIRECTS = 5;

/**
 * The target of a redirect, and whether the API key may be sent there; null = not followed. `hop` counts from 1. The query is
 * the selection, without which the target would be another stream: a target without a query keeps it.
 */
export function resolveRedirect(from: string, location: string | null, hop: number): { url: string; sendKey: boolean } | null {
  if (location === null || hop > MAX_REDIRECTS || !URL.canParse(location, from)) return null;
  const source = new URL(from);
  const target = new URL(location, from);
  const wasSecure = source.protocol === "https:";
  if (target.protocol !== "https:" && (wasSecure || target.protocol !== "http:")) return null;
  const isUpgrade = target.protocol !== source.protocol && source.port === "" && target.port === "";
  const sendKey = target.hostname === source.hostname && (isUpgrade || (target.port === source.port && target.protocol === source.protocol));
  // A token is a credential: it stays with its origin, as the key does.
  if (target.search === "") target.search = sendKey ? source.search : source.search.slice(1).split("&").filter((part) => part.split("=")[0] !== "token").join("&");
  target.hash = "";
  return { url: target.href, sendKey };
}

/** The same for a WebSocket: its addresses may have either scheme, the target has that of `from`. */
export function resolveSocketRedirect(from: string, location: string | null, hop: number): { url: string; sendKey: boolean } | null {
  const target = resolveRedirect(from.replace(/^ws/, "http"), location === null ? null : location.replace(/^ws(s?:)/i, "http$1"), hop);
  return target === null ? null : { ...target, url: target.url.replace(/^http/, "ws") };
}
