/** What the WebSocket transport needs of a socket, whoever makes it. */

/** What a socket tells; the platform's WebSocket cannot tell `status`. */
export interface SocketEvents {
  open(): void;
  received(): void;
  text(text: string): void;
  malformed(reason: string): void;
  /** `status` is the HTTP answer to the handshake, where it was none of a WebSocket. */
  closed(code: number, reason: string, status: number | null, retryAfter: string | null): void;
}

export interface Socket {
  send(text: string): void;
  close(): void;
}

export type OpenSocket = (url: string, apiKey: string | null, events: SocketEvents) => Socket;
