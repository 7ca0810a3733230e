/** A GET request over `fetch` that follows redirects as every SDK does, and says what an unusable response means. */
import { statusOutcome, isUnauthorized, parseRetryAfter, resolveRedirect } from "./core/policy.js";
import { asError, ConnectionLost } from "./errors.js";
import { connectionFailure, type ConnectionFailure } from "./transport.js";

export type Fetch = (input: string, init: RequestInit) => Promise<Response>;

const MAX_PROBLEM_LENGTH = 2000;

export interface HttpRequest {
  readonly url: string;
  readonly apiKey: string | null;
  readonly headers: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
  /** Null if this response of status 200 or 304 is what was asked for; otherwise why it is not. */
  check(response: Response): string | null;
}

/** Resolves with a response that `check` accepts; rejects with Refused, or with what `fetch` rejects with. */
export async function httpRequest(fetch: Fetch, { url: first, apiKey, headers: own, signal, check }: HttpRequest): Promise<Response> {
  let url = first;
  let key = apiKey;
  let redirect: RequestRedirect = "manual";
  for (let hop = 1; ; hop++) {
    const headers: Record<string, string> = { ...own };
    // When the browser follows a redirect to another origin, it drops this header and no other.
    if (key !== null && redirect === "follow") headers.Authorization = `Bearer ${key}`;
    else if (key !== null) headers["X-API-Key"] = key;
    const response = await fetch(url, { headers, signal, redirect, cache: "no-store" });
    if (response.type === "opaqueredirect") {
      // A browser hides the target of a redirect, but follows it itself.
      redirect = "follow";
      continue;
    }
    const { status } = response;
    const outcome = status === 304 ? "stream" : statusOutcome(status);
    // A browser that has followed a redirect shows where it ended: a target without a query has lost the selection.
    const lostQueryAt = response.redirected && new URL(response.url).search === "" && new URL(url).search !== "" ? response.url : null;
    if (outcome === "redirect" || lostQueryAt !== null) {
      const target = resolveRedirect(url, lostQueryAt ?? response.headers.get("location"), hop);
      await response.body?.cancel();
      if (target === null) throw refused(`redirect ${hop} of ${new URL(url).host} is not allowed`, status);
      url = target.url;
      if (!target.sendKey) key = null;
      redirect = "manual";
      continue;
    }
    if (outcome === "stream") {
      const fault = check(response);
      if (fault === null) return response;
      await response.body?.cancel();
      throw refused(fault, status);
    }
    const wait = response.headers.get("retry-after");
    const detail = await problem(response);
    throw refused(detail, status, outcome, wait === null ? null : parseRetryAfter(wait, Date.now()));
  }
}

/** What a rejection of `httpRequest`, or of reading its response, means for the connection. */
export function failureOf(error: unknown): ConnectionFailure {
  return error instanceof Refused ? error.failure : connectionFailure(broken(error));
}

export class Refused extends Error {
  constructor(readonly failure: ConnectionFailure) {
    super(failure.error.message);
  }
}

export function refused(message: string, status: number | null = null, outcome: "retry" | "fatal" = "fatal", retryAfterMs: number | null = null): Refused {
  return new Refused(connectionFailure(new ConnectionLost(message, { status }), outcome, retryAfterMs, status !== null && isUnauthorized(status)));
}

function broken(error: unknown): ConnectionLost {
  const cause = asError(error);
  const inner = cause.cause instanceof Error ? `: ${cause.cause.message}` : "";
  return new ConnectionLost(`the connection broke: ${cause.message}${inner}`, { cause });
}

/** The status and the detail of a problem response, in one line. */
async function problem(response: Response): Promise<string> {
  const start = `the server responded with ${response.status}`;
  try {
    const { detail, title } = JSON.parse((await response.text()).slice(0, MAX_PROBLEM_LENGTH)) as { detail?: unknown; title?: unknown };
    const text = detail ?? title;
    return typeof text === "string" ? `${start}: ${text}` : start;
  } catch {
    // The status alone decides what follows; the body only explains it.
    return start;
  }
}
