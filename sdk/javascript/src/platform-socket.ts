/** The socket that is used by default. The package's field `browser` replaces this module by `browser-socket`, without the way to Node.js. */
import { asError } from "./errors.js";
import { isNode } from "./platform.js";
import type { OpenSocket, Socket } from "./socket.js";
import { platformClass, standardSocket } from "./standard-socket.js";

/** In Node.js the socket that sends headers and reports HTTP statuses, elsewhere the platform's class. */
export function defaultSocket(maxLength: number): OpenSocket {
  if (!isNode()) return standardSocket(platformClass());
  return (url, apiKey, events) => {
    let inner: Socket | null = null;
    let isClosed = false;
    import("./node-socket.js").then(
      ({ openNodeSocket }) => { if (!isClosed) inner = openNodeSocket(url, apiKey, events, maxLength); },
      (error: unknown) => events.closed(1006, asError(error).message, null, null),
    );
    return {
      send: (text) => inner?.send(text),
      close: () => {
        isClosed = true;
        inner?.close();
      },
    };
  };
}
