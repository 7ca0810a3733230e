/** A socket of the standard WebSocket class. */
import type { OpenSocket } from "./socket.js";

/** The part of the standard WebSocket class that the client uses. */
export interface WebSocketLike {
  readonly readyState: number;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  send(text: string): void;
  close(code?: number, reason?: string): void;
}

export type WebSocketClass = new (url: string, protocols?: string[]) => WebSocketLike;

const OPEN = 1;
export const PROTOCOL = "flagent.v1";
export const KEY_PROTOCOL = "flagent.key.";

/**
 * A socket of the platform's class. It cannot send headers, so the API key is sent as a subprotocol: the client offers
 * `flagent.v1` and `flagent.key.<base64url of the key>`; the server selects the first and never returns the second.
 */
export function standardSocket(WebSocketClass: WebSocketClass): OpenSocket {
  return (url, apiKey, events) => {
    const socket = apiKey === null ? new WebSocketClass(url) : new WebSocketClass(url, [PROTOCOL, KEY_PROTOCOL + base64Url(apiKey)]);
    socket.onopen = () => events.open();
    socket.onmessage = (event: { data: unknown }) => {
      events.received();
      if (typeof event.data === "string") events.text(event.data);
      else events.malformed("a binary message is not supported");
    };
    socket.onclose = (event: { code: number; reason: string }) => events.closed(event.code, event.reason, null, null);
    // `close` follows and carries all information; without a listener for `error`, some implementations throw.
    socket.onerror = () => undefined;
    return {
      send: (text) => { if (socket.readyState === OPEN) socket.send(text); },
      close: () => {
        socket.onopen = socket.onmessage = socket.onclose = null;
        socket.close(1000);
      },
    };
  };
}

function base64Url(text: string): string {
  const bytes = new TextEncoder().encode(text);
  return btoa(String.fromCharCode(...bytes)).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}

/** The class of this platform; raises TypeError where there is none. */
export function platformClass(): WebSocketClass {
  const { WebSocket } = globalThis as { WebSocket?: WebSocketClass };
  if (WebSocket === undefined) throw new TypeError("this platform has no WebSocket; pass a class as the option `WebSocket`");
  return WebSocket;
}
