/** `platform-socket` in a bundle for browsers, workers and edge runtimes. */
import type { OpenSocket } from "./socket.js";
import { platformClass, standardSocket } from "./standard-socket.js";

/** A socket of the platform's class, which has no limit of a message's length. */
export function defaultSocket(_maxLength: number): OpenSocket {
  return standardSocket(platformClass());
}
