/** `platform-fetch` in a bundle for browsers, workers and edge runtimes. */
import type { Fetch } from "./http-request.js";

/** Calls the `fetch` that the platform has at that moment: a test or a service worker may have replaced it. */
export const defaultFetch: Fetch = (input, init) => fetch(input, init);
