/** The `fetch` that is used by default. The package's field `browser` replaces this module by `browser-fetch`, without the way to Node.js. */
import type { Fetch } from "./http-request.js";
import { isNode } from "./platform.js";

/** In Node.js `nodeFetch`, elsewhere the platform's. */
export const defaultFetch: Fetch = async (input, init) => {
  if (!isNode()) return fetch(input, init);
  const { nodeFetch } = await import("./node-fetch.js");
  return nodeFetch(input, init);
};
