/** The interface between the WebSocket transport and a socket. */

/** What a socket reports; the platform's WebSocket cannot report `status`. */
export interface SocketEvents {
  open(): void;
  received(): void;
  text(text: string): void;
  malformed(reason: string): void;
  /** `status` is the HTTP status of a handshake that failed, otherwise null; `reason` then is the server's sentence, if it sent one. */
  closed(code: number, reason: string, status: number | null, retryAfter: string | null, cause?: unknown): void;
}

export interface Socket {
  send(text: string): void;
  close(): void;
}

export type OpenSocket = (url: string, apiKey: string | null, events: SocketEvents) => Socket;
